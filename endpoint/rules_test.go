package endpoint

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"lapis/armid"
	"lapis/fault"
	"lapis/operation"
	"lapis/resource"
)

func TestTrafficSumsUpOverDeploymentsThatExist(t *testing.T) {
	deployments := []string{"blue", "Green"}
	type weights = map[string]int
	for _, c := range []struct {
		name       string
		given      weights
		want       weights
		refusedFor string
	}{
		{"none", nil, weights{}, ""},
		{"all to one", weights{"blue": 100}, weights{"blue": 100}, ""},
		{"halves, in another case", weights{"BLUE": 50, "green": 50}, weights{"blue": 50, "Green": 50}, ""},
		{"zeros are left out", weights{"blue": 0, "Green": 100}, weights{"Green": 100}, ""},
		{"zero for nobody", weights{"gone": 0}, weights{}, ""},
		{"90", weights{"blue": 90}, nil, "sum to 90"},
		{"110", weights{"blue": 60, "Green": 50}, nil, "sum to 110"},
		{"below zero", weights{"blue": -1}, nil, "must be 0 to 100"},
		{"cancelling out", weights{"blue": -100, "Green": 200}, nil, "must be 0 to 100"},
		{"to nobody", weights{"gone": 100}, nil, "does not exist"},
		{"twice", weights{"blue": 50, "BLUE": 50}, nil, "named twice"},
	} {
		got, err := checkTraffic(c.given, deployments)
		if c.refusedFor == "" && (err != nil || !maps.Equal(got, c.want)) {
			t.Errorf("%s: %v %v, want %v", c.name, got, err, c.want)
		}
		if c.refusedFor != "" && (!fault.HasCode(err, "InvalidTraffic") || !strings.Contains(err.Error(), c.refusedFor)) {
			t.Errorf("%s: %v, want a refusal for %q", c.name, err, c.refusedFor)
		}
	}
}

func TestMirroredTrafficGoesToOneWithoutLiveTraffic(t *testing.T) {
	deployments := []string{"blue", "Green", "third"}
	live := map[string]int{"blue": 100}
	for _, c := range []struct {
		name       string
		given      map[string]int
		want       map[string]int
		refusedFor string
	}{
		{"a tenth", map[string]int{"GREEN": 10}, map[string]int{"Green": 10}, ""},
		{"none", map[string]int{"Green": 0, "gone": 0}, map[string]int{}, ""},
		{"half", map[string]int{"Green": 50}, map[string]int{"Green": 50}, ""},
		{"more than half", map[string]int{"Green": 51}, nil, "must be 0 to 50"},
		{"below zero", map[string]int{"Green": -1}, nil, "must be 0 to 50"},
		{"to nobody", map[string]int{"gone": 10}, nil, "does not exist"},
		{"to two", map[string]int{"Green": 10, "third": 10}, nil, "one deployment only"},
		{"to the live one", map[string]int{"Blue": 10}, nil, "live traffic"},
	} {
		got, err := checkMirror(c.given, live, deployments)
		if c.refusedFor == "" && (err != nil || !maps.Equal(got, c.want)) {
			t.Errorf("%s: %v %v, want %v", c.name, got, err, c.want)
		}
		if c.refusedFor != "" && (!fault.HasCode(err, "InvalidTraffic") || !strings.Contains(err.Error(), c.refusedFor)) {
			t.Errorf("%s: %v, want a refusal for %q", c.name, err, c.refusedFor)
		}
	}
}

func TestNamesOfEndpointsAndDeployments(t *testing.T) {
	for name, good := range map[string]bool{
		"abc": true, "a-1": true, "Abc": true, strings.Repeat("a", 32): true,
		"": false, "ab": false, "1ab": false, "-ab": false, "ab-": false, "a_b": false, "a.b": false, "a b": false, "äbc": false,
		"abc\n": false, strings.Repeat("a", 33): false,
	} {
		if err := checkName(name); (err == nil) != good || err != nil && !fault.HasCode(err, "InvalidName") {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func userIdentity(ids ...string) *resource.Identity {
	users := map[string]resource.UserAssigned{}
	for _, id := range ids {
		users[id] = resource.UserAssigned{}
	}
	return &resource.Identity{Type: "UserAssigned", UserAssigned: users}
}

func TestIdentityIsChosenOnceAndNeverChanged(t *testing.T) {
	const one, two = "/subscriptions/s1/resourceGroups/rg1/providers/Microsoft.ManagedIdentity/userAssignedIdentities/one",
		"/subscriptions/s1/resourceGroups/rg1/providers/Microsoft.ManagedIdentity/userAssignedIdentities/two"
	system := func() *resource.Identity { return &resource.Identity{Type: "SystemAssigned", PrincipalID: "p"} }
	mixed := system()
	mixed.UserAssigned = userIdentity(one).UserAssigned
	for _, c := range []struct {
		name string
		prev *resource.Identity
		next *resource.Identity
		want string // the type after it; "" if it is refused
	}{
		{"none given", nil, nil, "SystemAssigned"},
		{"an empty type", nil, &resource.Identity{}, "SystemAssigned"},
		{"in another case", nil, &resource.Identity{Type: "systemassigned"}, "SystemAssigned"},
		{"user-assigned", nil, userIdentity(one, two), "UserAssigned"},
		{"unknown", nil, &resource.Identity{Type: "None"}, ""},
		{"both", nil, &resource.Identity{Type: "SystemAssigned,UserAssigned", UserAssigned: userIdentity(one).UserAssigned}, ""},
		{"user-assigned, but which", nil, userIdentity(), ""},
		{"system-assigned with another", nil, mixed, ""},
		{"nothing said later", system(), nil, "SystemAssigned"},
		{"the same again", system(), system(), "SystemAssigned"},
		{"the same in another spelling", userIdentity(one), userIdentity(strings.ToUpper(one) + "/"), "UserAssigned"},
		{"another sort", system(), userIdentity(one), ""},
		{"another sort, the other way", userIdentity(one), system(), ""},
		{"another one", userIdentity(one), userIdentity(two), ""},
		{"one more", userIdentity(one), userIdentity(one, two), ""},
		{"one less", userIdentity(one, two), userIdentity(one), ""},
	} {
		d := &resource.Draft{Next: &resource.Resource{ID: armid.ResourceGroup("s1", "rg1"), Identity: c.next}}
		if c.prev != nil {
			d.Prev = &resource.Resource{ID: armid.ResourceGroup("s1", "rg1"), Identity: c.prev}
		}
		err := checkIdentity(d)
		switch {
		case c.want == "" && !fault.HasCode(err, "BadArgument"):
			t.Errorf("%s: %v, want a refusal", c.name, err)
		case c.want != "" && (err != nil || d.Next.Identity.Type != c.want):
			t.Errorf("%s: %v %+v, want %s", c.name, err, d.Next.Identity, c.want)
		case c.want != "" && c.prev != nil && d.Next.Identity != c.prev:
			t.Errorf("%s: the identity was replaced", c.name)
		}
	}
}

func TestAttachingAsksForEveryNewIdentity(t *testing.T) {
	group := armid.ResourceGroup("s1", "rg1")
	one, two := group.Provider(managedType, "one"), group.Provider(managedType, "two")
	asked := func(prev, next *resource.Identity) (scopes []string, err error) {
		d := &resource.Draft{Next: &resource.Resource{Identity: next}}
		if prev != nil {
			d.Prev = &resource.Resource{Identity: prev}
		}
		needed, err := linkedIdentities(d)
		for _, n := range needed {
			if n.Action != "Microsoft.ManagedIdentity/userAssignedIdentities/assign/action" {
				t.Errorf("asks for %s", n.Action)
			}
			scopes = append(scopes, n.Scope.Name())
		}
		return scopes, err
	}
	for _, c := range []struct {
		prev, next *resource.Identity
		want       []string
	}{
		{nil, nil, nil},
		{nil, &resource.Identity{Type: "SystemAssigned"}, nil},
		{nil, userIdentity(one.String(), two.String()), []string{"one", "two"}},
		{userIdentity(one.String()), userIdentity(strings.ToUpper(one.String())), nil},
		{userIdentity(one.String()), userIdentity(one.String(), two.String()), []string{"two"}},
		{&resource.Identity{Type: "SystemAssigned"}, userIdentity(one.String()), []string{"one"}},
	} {
		if got, err := asked(c.prev, c.next); err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%+v after %+v: %v %v, want %v", c.next, c.prev, got, err, c.want)
		}
	}
	for _, bad := range []string{"one", "/", group.String(), group.Provider(workspaceType, "one").String()} {
		if _, err := asked(nil, userIdentity(bad)); !fault.HasCode(err, "BadArgument") {
			t.Errorf("%q as an identity: %v", bad, err)
		}
	}
}

func TestUnknownUserAssignedIdentityIsRefused(t *testing.T) {
	w := newWorld(t)
	nobody := armid.ResourceGroup("s1", "rg1").Provider(managedType, "nobody").String()
	_, err := w.try(w.ws.Child("onlineEndpoints", "with-uai"), `{"location":"here","identity":{"type":"UserAssigned","userAssignedIdentities":{"`+nobody+`":{}}}}`)
	if !fault.HasCode(err, "BadArgument") || !strings.Contains(err.Error(), nobody) {
		t.Errorf("an identity that does not exist: %v", err)
	}
}

func TestAuthModeIsOneOfThree(t *testing.T) {
	w := newWorld(t)
	id := w.ws.Child("onlineEndpoints", "moded")
	for given, shown := range map[string]string{"": "Key", "key": "Key", "amlToken": "AMLToken", "AADTOKEN": "AADToken"} {
		r := w.put(id, `{"location":"here","properties":{"authMode":"`+given+`"}}`)
		var p properties
		if err := r.Decode(&p); err != nil || p.AuthMode != shown {
			t.Errorf("%q became %q: %v", given, p.AuthMode, err)
		}
	}
	for _, bad := range []string{"None", "Anonymous", "Key "} {
		if _, err := w.try(id, `{"location":"here","properties":{"authMode":"`+bad+`"}}`); !fault.HasCode(err, "InvalidAuthMode") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestNameIsUniqueInTheRegion(t *testing.T) {
	w := newWorld(t)
	first := w.ws.Child("onlineEndpoints", "only-one")
	w.put(first, plainEndpoint)
	other := w.workspace("ws2").Child("onlineEndpoints", "Only-One")
	if _, err := w.try(other, plainEndpoint); !fault.HasCode(err, "EndpointNameTaken") {
		t.Errorf("taken: %v", err)
	}
	op, err := w.tree.Delete(t.Context(), first, resource.Caller{})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.runner.Wait(t.Context(), op.ID); err != nil {
		t.Fatal(err)
	}
	w.put(other, plainEndpoint)
	if _, err := w.try(first, plainEndpoint); !fault.HasCode(err, "EndpointNameTaken") {
		t.Errorf("taken by the other: %v", err)
	}
}

func TestSystemIdentityGetsItsRoles(t *testing.T) {
	w := newWorld(t)
	w.put(w.ws.Child("onlineEndpoints", "granted"), plainEndpoint)
	if want := []string{"AcrPull at images", "Storage Blob Data Reader at store"}; !slices.Equal(w.grants, want) {
		t.Errorf("roles: %v, want %v", w.grants, want)
	}
}

// An endpoint that is being made, changed or deleted takes no deployment.
func TestDeploymentWaitsForItsEndpoint(t *testing.T) {
	w := newWorld(t)
	endpoint, _ := w.endpoint("busy-one")
	green := endpoint.Child("deployments", "green")
	for state, code := range map[resource.State]string{
		resource.Creating: "EndpointNotReady", resource.Updating: "EndpointNotReady", resource.Deleting: "AnotherOperationInProgress",
	} {
		w.modify(endpoint, func(r *resource.Resource) { r.State = state })
		if _, err := w.try(green, plainDeployment); !fault.HasCode(err, code) || !fault.Is(err, fault.Conflict) {
			t.Errorf("%s: %v, want %s", state, err, code)
		}
		if _, err := w.try(endpoint, plainEndpoint); !fault.HasCode(err, "AnotherOperationInProgress") {
			t.Errorf("a change of the endpoint while %s: %v", state, err)
		}
	}
	w.modify(endpoint, func(r *resource.Resource) { r.State = resource.Deleting })
	if _, err := w.try(endpoint.Child("deployments", "blue"), plainDeployment); !fault.HasCode(err, "EndpointNotReady") {
		t.Errorf("a change of a deployment while its endpoint is deleted: %v", err)
	}
	w.modify(endpoint, func(r *resource.Resource) { r.State = resource.Failed })
	w.put(green, plainDeployment)
}

func TestDeploymentsAreRefusedByTheirRules(t *testing.T) {
	w := newWorld(t)
	endpoint, blue := w.endpoint("ruled")
	with := func(change func(top, properties map[string]any)) string {
		var body map[string]any
		if err := json.Unmarshal([]byte(plainDeployment), &body); err != nil {
			t.Fatal(err)
		}
		change(body, body["properties"].(map[string]any))
		data, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	set := func(name string, value any) string {
		return with(func(_, p map[string]any) { p[name] = value })
	}
	script := func(name string) string {
		return set("codeConfiguration", map[string]any{"codeId": "c", "scoringScript": name})
	}
	capacity := func(n any) string {
		return with(func(top, _ map[string]any) { top["sku"] = map[string]any{"capacity": n} })
	}
	requests := func(name string, value any) string { return set("requestSettings", map[string]any{name: value}) }
	for name, c := range map[string]struct{ body, code string }{
		"script above":               {script("../score.py"), "BadArgument"},
		"script above, hidden":       {script("a/../../score.py"), "BadArgument"},
		"absolute script":            {script("/etc/score.py"), "BadArgument"},
		"script of another language": {script("score.sh"), "BadArgument"},
		"script in a folder":         {script("src/./score.py"), ""},
		"no environment":             {set("environmentId", ""), "BadArgument"},
		"unknown environment":        {set("environmentId", "none"), "BadArgument"},
		"unknown model":              {set("model", "none"), "BadArgument"},
		"no instance type":           {set("instanceType", ""), "BadArgument"},
		"unknown compute":            {set("endpointComputeType", "Fast"), "BadArgument"},
		"variable without a name":    {set("environmentVariables", map[string]any{"": "x"}), "BadArgument"},
		"variable with =":            {set("environmentVariables", map[string]any{"A=B": "x"}), "BadArgument"},
		"no instances below zero":    {capacity(-1), "BadArgument"},
		"too many instances":         {capacity(51), "BadArgument"},
		"capacity is a text":         {capacity("x"), "InvalidRequestContent"},
		"50 instances":               {capacity(50), ""},
		"concurrency below zero":     {requests("maxConcurrentRequestsPerInstance", -1), "BadArgument"},
		"too much concurrency":       {requests("maxConcurrentRequestsPerInstance", 1001), "BadArgument"},
		"timeout too long":           {requests("requestTimeout", "PT181S"), "BadArgument"},
		"the longest timeout":        {requests("requestTimeout", "PT3M"), ""},
		"timeout is no duration":     {requests("requestTimeout", "5s"), "BadArgument"},
		"probe is no duration":       {set("livenessProbe", map[string]any{"period": "x"}), "BadArgument"},
		"probe too long":             {set("livenessProbe", map[string]any{"period": "PT2H"}), "BadArgument"},
		"probe threshold":            {set("readinessProbe", map[string]any{"failureThreshold": -1}), "BadArgument"},
	} {
		changed, err := w.try(blue, c.body)
		if err == nil {
			err = w.runner.Wait(t.Context(), changed.Operation.ID)
		}
		if c.code == "" && err != nil || c.code != "" && !fault.HasCode(err, c.code) {
			t.Errorf("%s: %v, want %q", name, err, c.code)
		}
	}
	if _, err := w.try(endpoint.Child("deployments", "b_d"), plainDeployment); !fault.HasCode(err, "InvalidName") {
		t.Errorf("bad name: %v", err)
	}
}

func TestDeploymentWithTrafficIsNotDeleted(t *testing.T) {
	w := newWorld(t)
	endpoint, blue := w.endpoint("trafficked")
	w.put(endpoint.Child("deployments", "green"), plainDeployment)
	w.put(endpoint, `{"location":"here","properties":{"authMode":"Key","traffic":{"blue":100},"mirrorTraffic":{"green":10}}}`)
	for _, name := range []string{"blue", "GREEN"} {
		if _, err := w.tree.Delete(t.Context(), endpoint.Child("deployments", name), resource.Caller{}); !fault.HasCode(err, "DeploymentHasTraffic") {
			t.Errorf("%s: %v", name, err)
		}
	}
	w.put(endpoint, plainEndpoint)
	op, err := w.tree.Delete(t.Context(), blue, resource.Caller{})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.runner.Wait(t.Context(), op.ID); err != nil {
		t.Error(err)
	}
}

// A deletion ends what makes the deployment: nothing of it comes up afterwards.
func TestDeletionCancelsTheDeployment(t *testing.T) {
	w := newWorld(t)
	endpoint, _ := w.endpoint("cancelled")
	started := make(chan struct{})
	w.deploy = func(ctx context.Context, _ *operation.Run) error {
		close(started)
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(5 * time.Second):
			return errors.New("nobody cancelled it")
		}
	}
	green := endpoint.Child("deployments", "green")
	making, err := w.try(green, plainDeployment)
	if err != nil {
		t.Fatal(err)
	}
	<-started
	op, err := w.tree.Delete(t.Context(), green, resource.Caller{})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.runner.Wait(t.Context(), op.ID); err != nil {
		t.Fatal(err)
	}
	if now, err := w.runner.Get(t.Context(), making.Operation.ID); err != nil || now.Status != operation.Canceled {
		t.Errorf("the creation is %s: %v", now.Status, err)
	}
	if _, err := w.tree.Get(t.Context(), green); !fault.Is(err, fault.NotFound) {
		t.Errorf("after the deletion: %v", err)
	}
}

// What a client was shown of a failure and sends back is not kept, nor shown
// once the failure is over.
func TestFailureIsShownWhileItLasts(t *testing.T) {
	w := newWorld(t)
	_, blue := w.endpoint("failing")
	why := fault.E(fault.Denied, "AuthorizationPermissionMismatch", "the identity lacks a role")
	w.modify(blue, func(r *resource.Resource) { r.State, r.Failure = resource.Failed, operation.FailureOf(why) })
	inner := func() map[string]any {
		t.Helper()
		shown, err := w.tree.Show(t.Context(), w.get(blue))
		if err != nil {
			t.Fatal(err)
		}
		m, _ := shown.Properties["properties"].(map[string]any)
		return m
	}
	if got := inner()[errorProperty]; got != why.Error() {
		t.Errorf("shown: %v", got)
	}
	var body map[string]any
	if err := json.Unmarshal([]byte(plainDeployment), &body); err != nil {
		t.Fatal(err)
	}
	body["properties"].(map[string]any)["properties"] = inner()
	echo, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	w.put(blue, string(echo))
	if got, ok := inner()[errorProperty]; ok {
		t.Errorf("after it succeeded it still shows %v", got)
	}
}

func TestDurations(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"PT5S": 5 * time.Second, "pt5s": 5 * time.Second, "PT0.5S": 500 * time.Millisecond, "PT1M30S": 90 * time.Second,
		"PT1H": time.Hour, "P1D": 24 * time.Hour, "P1DT1H1M1S": 25*time.Hour + time.Minute + time.Second, "PT0S": 0,
	} {
		if got, err := parseDuration(text); err != nil || got != want {
			t.Errorf("%s: %s %v, want %s", text, got, err, want)
		}
	}
	for _, text := range []string{
		"", "P", "PT", "P1DT", "5", "5s", "T5S", "PT5", "PT-5S", "-PT5S", "PT5.S", "PT.5S", "P1M", "P1Y", "P1W", "PT5S ", "PT1S1M",
		"PT99999999999999999999S", "PT" + strings.Repeat("9", 400) + "S", "P1000D", "PTNaNS", "PT1e3S", "PT٣S",
	} {
		if got, err := parseDuration(text); err == nil {
			t.Errorf("%q is taken as %s", text, got)
		}
	}
}

func FuzzDuration(f *testing.F) {
	for _, seed := range []string{"PT5S", "P1DT2H3M4.5S", "PT", "P", "", "PT99999999999S", "pt0.000000001s", "PT1M1M"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		d, err := parseDuration(text)
		if err == nil && (d < 0 || d > 1000*time.Hour) {
			t.Errorf("%q is %s", text, d)
		}
		value := text
		if err := duration(&value, "PT5S", "x", time.Hour); err == nil && d > time.Hour {
			t.Errorf("%q passes the limit", text)
		}
	})
}
