package lapis_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"testing"

	"lapis/arm"
)

// application makes one without a role, and returns its object id and its
// token for Resource Manager.
func (p *platform) application(name string) (objectID, token string) {
	p.t.Helper()
	objectID, clientID, secret, err := p.server.NewApplication(name)
	if err != nil {
		p.t.Fatal(err)
	}
	return objectID, p.token(clientID, secret, armHost)
}

// address fills a row's pattern with resources that exist, but for those that
// the row would delete.
func (p *platform) address(row arm.Route) string {
	known := map[string]string{
		"subscription": p.info.SubscriptionID, "resourceGroup": p.info.ResourceGroup, "workspaces": p.info.Workspace, "location": p.info.Location,
		"scope...": strings.TrimPrefix(p.group(), "/"), "storageAccounts": "routes", "blobServices": "default", "containers": "box",
		"onlineEndpoints": "routes-ep", "datastores": "workspaceblobstore", "namespace": "Microsoft.Storage",
	}
	var segments []string
	for seg := range strings.SplitSeq(strings.Trim(row.Path, "/"), "/") {
		if name, ok := strings.CutPrefix(seg, "{"); ok {
			name = strings.TrimSuffix(name, "}")
			if seg = known[name]; seg == "" {
				seg = "00000000-0000-4000-8000-000000000000"
			}
		}
		segments = append(segments, seg)
	}
	if row.Method == "DELETE" {
		segments[len(segments)-1] = "nosuchname"
	}
	query := url.Values{"api-version": {p.versionOf(row)}}
	if strings.HasSuffix(row.Path, "/explain") {
		query.Set("scope", p.group())
		query.Set("action", "Microsoft.Storage/storageAccounts/read")
		query.Set("principal", p.ownerID())
	}
	return armHost + "/" + strings.Join(segments, "/") + "?" + query.Encode()
}

// versionOf is an api-version that the row takes.
func (p *platform) versionOf(row arm.Route) string {
	for namespace, version := range map[string]string{
		"MachineLearningServices": mlVersion, "ManagedIdentity": identityVersion, "Microsoft.Storage": "2023-01-01", "ContainerRegistry": "2023-07-01", "/deployments": deploymentVersion, "KeyVault": "2023-07-01", "Microsoft.Insights": "2020-02-02", "OperationalInsights": "2020-08-01",
	} {
		if strings.Contains(row.Path, namespace) {
			return version
		}
	}
	return "2022-09-01"
}

func TestEveryRowOfTheTableIsGuarded(t *testing.T) {
	p := start(t, t.TempDir())
	p.storage("routes")
	p.createEndpoint("routes-ep", nil)
	stranger, token := p.application("stranger")
	owner := p.owner(armHost)
	open := []string{}
	rows := p.server.Routes()
	if len(rows) < 60 {
		t.Errorf("the table has only %d rows", len(rows))
	}
	for _, row := range rows {
		name := row.Method + " " + row.Path
		address := p.address(row)
		as := func(token string) answer { return p.do(row.Method, address, bearerHeader(token), nil) }
		if row.Action == "" {
			open = append(open, name)
			if a := as(""); a.status != 200 {
				t.Errorf("%s: %d without a token, as every cloud's discovery asks: %s", name, a.status, a.text)
			}
			continue
		}
		if a := as(""); a.status != 401 || row.Method != "HEAD" && a.str("error.code") != "AuthenticationFailed" || a.header.Get("WWW-Authenticate") == "" {
			t.Errorf("%s: %d without a token: %s", name, a.status, a.text)
		}
		if a := as(owner); a.str("error.code") == "ResetNotAllowed" { // the switch of this platform, not a role
			t.Log(name, "is off")
		} else if a.status == 401 || a.status == 403 || a.status == 500 || a.status > 501 { // so that a refusal below is one of roles
			t.Errorf("%s: the owner gets %d: %s", name, a.status, a.text)
		}
		a := as(token)
		if row.Action == arm.Authenticated {
			if a.status == 401 || a.status == 403 && !strings.HasSuffix(row.Path, "/explain") {
				t.Errorf("%s: any caller may, but gets %d: %s", name, a.status, a.text)
			}
			continue
		}
		checkDenial(t, name, a, stranger, row)
	}
	if want := []string{"GET /metadata/endpoints"}; !slices.Equal(open, want) {
		t.Errorf("anonymous rows: %v, want %v", open, want)
	}
}

type denialBody struct{ Principal, Action, Scope, Role, RoleScope, Remedy string }

// checkDenial holds a refusal against what it must tell.
func checkDenial(t *testing.T, name string, a answer, principal string, row arm.Route) {
	t.Helper()
	if a.status != 403 {
		t.Errorf("%s: a caller without a role gets %d: %s", name, a.status, a.text)
		return
	}
	var header denialBody
	if err := json.Unmarshal([]byte(a.header.Get("x-lapis-denied")), &header); err != nil {
		t.Errorf("%s: x-lapis-denied: %v", name, err)
		return
	}
	switch {
	case header.Principal != principal, !strings.EqualFold(header.Action, row.Action), header.Role == "", header.RoleScope == "":
		t.Errorf("%s: x-lapis-denied: %+v", name, header)
	case !strings.HasPrefix(header.Remedy, "az role assignment create ") || !strings.Contains(header.Remedy, principal):
		t.Errorf("%s: remedy %q", name, header.Remedy)
	case !strings.HasPrefix(strings.ToLower(header.Scope), strings.ToLower(header.RoleScope)):
		t.Errorf("%s: %s does not lie in %s", name, header.Scope, header.RoleScope)
	}
	if row.Method == "HEAD" {
		return
	}
	list, _ := a.path("error.additionalInfo").([]any)
	if len(list) != 1 || a.str("error.code") != "AuthorizationFailed" {
		t.Errorf("%s: %s", name, a.text)
		return
	}
	info, _ := json.Marshal(list[0])
	var detail struct {
		Type string
		Info denialBody
	}
	if err := json.Unmarshal(info, &detail); err != nil || detail.Type != "LapisDenial" || detail.Info != header {
		t.Errorf("%s: additionalInfo %s differs from the header %+v", name, info, header)
	}
	for _, word := range []string{principal, row.Action, header.Scope} {
		if !strings.Contains(strings.ToLower(a.str("error.message")), strings.ToLower(word)) {
			t.Errorf("%s: the message does not name %s: %s", name, word, a.str("error.message"))
		}
	}
}

// What a role is assigned at is what it opens: nothing beside and nothing above.
func TestRoleOnOneResourceOpensNoSibling(t *testing.T) {
	p := start(t, t.TempDir())
	one, two := p.storage("scopeone"), p.storage("scopetwo")
	who, token := p.application("reader of one")
	get := func(path, version string) answer { return p.armAs(token, "GET", path, version, nil) }
	if a := get(one, "2023-01-01"); a.status != 403 {
		t.Fatalf("before: %d", a.status)
	}
	p.grant(who, "Reader", one)
	p.must(get(one, "2023-01-01"), 200)
	p.must(get(strings.ToUpper(one), "2023-01-01"), 200)
	p.must(get(one+"/blobServices/default/containers/box", "2023-01-01"), 200)
	for _, other := range []string{
		two, strings.ToUpper(two), one + "1", p.group(), p.workspace(), two + "/blobServices/default/containers",
		p.group() + "/providers/Microsoft.Storage/storageAccounts", "/subscriptions/" + p.info.SubscriptionID,
		"/subscriptions/" + p.info.SubscriptionID + "/providers/Microsoft.Storage/storageAccounts", p.group() + "/resources",
		one + "/../scopetwo", two + "/providers/Microsoft.Authorization/roleAssignments",
	} {
		if a := get(other, "2023-01-01"); a.status != 403 && a.status != 404 && a.status != 400 || strings.Contains(a.text, `"properties"`) {
			t.Errorf("%s: %d %s", other, a.status, a.text)
		}
	}
	for _, change := range []struct{ method, path string }{{"PUT", one}, {"PATCH", one}, {"DELETE", one}, {"POST", one + "/listKeys"}} {
		if a := p.armAs(token, change.method, change.path, "2023-01-01", object{}); a.status != 403 {
			t.Errorf("%s %s: %d %s", change.method, change.path, a.status, a.text)
		}
	}
}

// Whoever may write an endpoint may not thereby act as any identity.
func TestAttachingAnIdentityTakesTheRightToAssignIt(t *testing.T) {
	p := start(t, t.TempDir())
	who, token := p.application("contributor of the workspace")
	p.grant(who, "Contributor", p.workspace())
	made := p.must(p.arm("PUT", identityPath("powerful"), identityVersion, object{"location": p.info.Location}), 200, 201)
	id := made.str("id")
	body := func(kind string, ids ...string) object {
		identity := object{"type": kind}
		if len(ids) > 0 {
			users := object{}
			for _, id := range ids {
				users[id] = object{}
			}
			identity["userAssignedIdentities"] = users
		}
		return object{"location": p.info.Location, "identity": identity, "properties": object{"authMode": "Key"}}
	}
	put := func(method, name string, body object) answer {
		return p.armAs(token, method, p.workspace()+"/onlineEndpoints/"+name, mlVersion, body)
	}
	refused := func(what string, a answer) {
		t.Helper()
		if a.status != 403 || a.str("error.code") != "LinkedAuthorizationFailed" || !strings.Contains(a.text, "assign/action") || !strings.Contains(strings.ToLower(a.text), strings.ToLower(id)) || a.header.Get("x-lapis-denied") == "" {
			t.Errorf("%s: %d %s", what, a.status, a.text)
		}
	}
	refused("PUT of a new endpoint", put("PUT", "linked-ep", body("UserAssigned", id)))
	refused("PUT with the id in capitals", put("PUT", "linked-ep", body("UserAssigned", strings.ToUpper(id))))
	if a := p.arm("GET", p.workspace()+"/onlineEndpoints/linked-ep", mlVersion, nil); a.status != 404 {
		t.Errorf("the refused endpoint exists: %d", a.status)
	}
	if op := p.wait(p.must(put("PUT", "own-ep", body("SystemAssigned")), 201)); op.str("status") != "Succeeded" {
		t.Fatal(op.text)
	}
	refused("PATCH of an endpoint", put("PATCH", "own-ep", body("UserAssigned", id)))
	refused("PUT over an endpoint", put("PUT", "own-ep", body("UserAssigned", id)))

	p.grant(who, "Managed Identity Operator", id)
	if op := p.wait(p.must(put("PUT", "linked-ep", body("UserAssigned", id)), 201)); op.str("status") != "Succeeded" {
		t.Fatal(op.text)
	}

	// Changing something else of it is no attaching.
	third, token3 := p.application("third contributor")
	p.grant(third, "Contributor", p.workspace())
	p.wait(p.must(p.armAs(token3, "PATCH", p.workspace()+"/onlineEndpoints/linked-ep", mlVersion, object{"tags": object{"a": "b"}}), 202))
	p.wait(p.must(p.armAs(token3, "PUT", p.workspace()+"/onlineEndpoints/linked-ep", mlVersion, body("UserAssigned", strings.ToUpper(id))), 200))
}

// A workspace hands out signatures for its account: naming one takes its keys.
func TestAttachingAnAccountTakesItsKeys(t *testing.T) {
	p := start(t, t.TempDir())
	account := p.storage("attachme")
	who, token := p.application("contributor of another group")
	group := "/subscriptions/" + p.info.SubscriptionID + "/resourceGroups/second"
	p.must(p.arm("PUT", group, "2022-09-01", object{"location": p.info.Location}), 201)
	p.grant(who, "Contributor", group)
	ws := p.must(p.arm("GET", p.workspace(), mlVersion, nil), 200)
	registry := ws.str("properties.containerRegistry")
	body := object{"location": p.info.Location, "properties": object{"storageAccount": account, "containerRegistry": registry}}
	put := func(method string) answer {
		return p.armAs(token, method, group+"/providers/Microsoft.MachineLearningServices/workspaces/thief", mlVersion, body)
	}
	for _, step := range []struct{ needs, role, scope string }{
		{"Microsoft.Storage/storageAccounts/listKeys/action", "Storage Account Key Operator Service Role", account},
		{"Microsoft.ContainerRegistry/registries/write", "Contributor", registry},
	} {
		a := put("PUT")
		if a.status != 403 || a.str("error.code") != "LinkedAuthorizationFailed" || !strings.Contains(a.text, step.needs) || !strings.Contains(a.text, step.scope) {
			t.Errorf("without %s: %d %s", step.needs, a.status, a.text)
		}
		p.grant(who, step.role, step.scope)
	}
	p.must(put("PUT"), 201)

	// Another account takes its keys as well.
	second := p.storage("attachtoo")
	body["properties"].(object)["storageAccount"] = second
	for _, method := range []string{"PUT", "PATCH"} {
		if a := put(method); a.status != 403 || a.str("error.code") != "LinkedAuthorizationFailed" {
			t.Errorf("%s with another account: %d %s", method, a.status, a.text)
		}
	}
	// What is attached already does not ask again, and tags need no more than write.
	third, token3 := p.application("writer of the workspace")
	p.grant(third, "Contributor", group+"/providers/Microsoft.MachineLearningServices/workspaces/thief")
	for _, method := range []string{"PATCH", "PUT"} {
		a := p.armAs(token3, method, group+"/providers/Microsoft.MachineLearningServices/workspaces/thief", mlVersion, object{"location": p.info.Location, "tags": object{"by": method}})
		if a.status != 200 || a.str("tags.by") != method || a.str("properties.storageAccount") != account {
			t.Errorf("%s of tags: %d %s", method, a.status, a.text)
		}
	}
}

// A stranger sees no operation; who may read its target does.
func TestOperationsAreSeenByThoseWhoMayReadTheirTarget(t *testing.T) {
	p := start(t, t.TempDir())
	a := p.must(p.arm("PUT", p.workspace()+"/onlineEndpoints/watched", mlVersion, object{"location": p.info.Location, "properties": object{"authMode": "Key"}}), 201)
	p.wait(a)
	who, token := p.application("watcher")
	addresses := map[string]string{"status": a.header.Get("Azure-AsyncOperation"), "result": a.header.Get("Location")}
	see := func(what string) answer { return p.do("GET", addresses[what], bearerHeader(token), nil) }
	for _, what := range slices.Sorted(maps.Keys(addresses)) {
		if a := see(what); a.status != 403 || a.str("error.code") != "AuthorizationFailed" || strings.Contains(a.text, "Succeeded") {
			t.Errorf("%s for a stranger: %d %s", what, a.status, a.text)
		}
		if a := p.do("GET", addresses[what], nil, nil); a.status != 401 {
			t.Errorf("%s for nobody: %d", what, a.status)
		}
	}
	p.grant(who, "Reader", p.workspace()+"/onlineEndpoints/watched")
	for what := range addresses {
		p.must(see(what), 200)
	}
	unknown := strings.Replace(addresses["status"], a.header.Get("Azure-AsyncOperation")[strings.LastIndexByte(addresses["status"], '/')+1:], "none?api-version="+mlVersion, 1)
	if a := p.do("GET", unknown, bearerHeader(token), nil); a.status != 404 {
		t.Errorf("an operation that is not: %d %s", a.status, a.text)
	}
	if got := fmt.Sprint(see("status").path("status")); got != "Succeeded" {
		t.Errorf("status %s", got)
	}
}
