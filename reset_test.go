package lapis_test

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"lapis"
)

func resettable(c *lapis.Config) { c.Resettable = true }

const resetPath = "/providers/Lapis.Platform/reset"

// state is what a platform holds, as its clients see it, without times.
func (p *platform) state() string {
	p.t.Helper()
	var b strings.Builder
	sub := "/subscriptions/" + p.info.SubscriptionID
	add := func(paths ...string) {
		for _, path := range paths {
			a := p.must(p.arm("GET", path, groupVersion, nil), 200)
			fmt.Fprintln(&b, path, a.names())
		}
	}
	add(sub+"/resourceGroups", sub+"/resources")
	roles := "/providers/Microsoft.Authorization/"
	fmt.Fprintln(&b, len(p.must(p.arm("GET", sub+roles+"roleAssignments", "2022-04-01", nil), 200).values()))
	fmt.Fprintln(&b, len(p.must(p.arm("GET", sub+roles+"roleDefinitions?$filter=type%20eq%20'CustomRole'", "2022-04-01", nil), 200).values()))
	for _, collection := range []string{"onlineEndpoints", "codes", "models", "environments", "data", "datastores"} {
		fmt.Fprintln(&b, collection, p.must(p.arm("GET", p.workspace()+"/"+collection, mlVersion, nil), 200).names())
	}
	account := p.must(p.arm("GET", p.workspace(), mlVersion, nil), 200).str("properties.storageAccount")
	shown := p.must(p.arm("GET", account, storageVersion, nil), 200)
	fmt.Fprintln(&b, shown.path("properties.allowSharedKeyAccess"), shown.path("tags"))
	fmt.Fprintln(&b, p.must(p.arm("GET", account+"/blobServices/default/containers", storageVersion, nil), 200).names())
	return b.String()
}

func TestResetBringsBackTheFirstStart(t *testing.T) {
	p := start(t, t.TempDir(), resettable)
	before := p.state()

	account := p.must(p.arm("GET", p.workspace(), mlVersion, nil), 200).str("properties.storageAccount")
	p.storage("resetstore")
	p.must(p.arm("PUT", "/subscriptions/"+p.info.SubscriptionID+"/resourceGroups/other", groupVersion, object{"location": p.info.Location}), 201)
	identity := "/subscriptions/" + p.info.SubscriptionID + "/resourceGroups/other/providers/Microsoft.ManagedIdentity/userAssignedIdentities/uai"
	principal := p.must(p.arm("PUT", identity, "2023-01-31", object{"location": p.info.Location}), 201).str("properties.principalId")
	p.grant(principal, "Storage Blob Data Reader", account)
	p.environment()
	p.upload("models", "m", "model", map[string]string{"a.txt": "a"})
	p.createEndpoint("resetme", object{"type": "SystemAssigned"})
	p.must(p.arm("PATCH", account, storageVersion, object{"tags": object{"a": "b"}, "properties": object{"allowSharedKeyAccess": false}}), 200)
	who, token := p.application("somebody")
	p.grant(who, "Contributor", p.group())
	if p.state() == before {
		t.Fatal("nothing was made")
	}
	p.must(p.armAs(token, "POST", resetPath, groupVersion, nil), 403)

	a := p.must(p.arm("POST", resetPath, groupVersion, nil), 200)
	if after := p.state(); after != before {
		t.Errorf("after the reset:\n%s\nbefore all:\n%s\ndeleted: %s", after, before, a.text)
	}
	for _, id := range []string{identity, "/onlineEndpoints/resetme", "/storageAccounts/resetstore", "/models/m/versions/1"} {
		if !strings.Contains(a.text, id) {
			t.Errorf("the answer does not name %s: %s", id, a.text)
		}
	}
	p.must(p.armAs(token, "GET", p.group(), groupVersion, nil), 401)
	// The same names are free, and what is made under them has nothing of the former.
	p.createEndpoint("resetme", object{"type": "SystemAssigned"})
	p.storage("resetstore")
	p.upload("models", "m", "model", map[string]string{"a.txt": "b"})
	p.must(p.arm("POST", resetPath, groupVersion, nil), 200)
}

// withoutIDs cuts out the id by which a workspace names its container: one that
// is made again has another.
func withoutIDs(state string) string {
	return regexp.MustCompile(`blobstore-[0-9a-f-]+`).ReplaceAllString(state, "blobstore")
}

func TestResetMakesADeletedWorkspaceAgain(t *testing.T) {
	p := start(t, t.TempDir(), resettable)
	before := withoutIDs(p.state())
	p.environment() // goes with its workspace, and is not there again with the next one
	p.wait(p.must(p.arm("DELETE", p.group(), groupVersion, nil), 202))
	p.must(p.arm("POST", resetPath, groupVersion, nil), 200)
	if after := withoutIDs(p.state()); after != before {
		t.Errorf("after the reset:\n%s\nbefore all:\n%s", after, before)
	}
	p.upload("models", "m", "model", map[string]string{"a.txt": "a"})
}

func TestResetIsRefusedWithoutTheSwitch(t *testing.T) {
	p := start(t, t.TempDir())
	a := p.arm("POST", resetPath, groupVersion, nil)
	if a.status != 403 || a.str("error.code") != "ResetNotAllowed" || !strings.Contains(a.text, "--resettable") {
		t.Errorf("%d %s", a.status, a.text)
	}
	if a := p.do("POST", armHost+resetPath, nil, nil); a.status != 401 {
		t.Errorf("without a token: %d %s", a.status, a.text)
	}
}

// A test of a user makes some resources and no instances: a reset after it must
// not be felt.
func TestResetIsQuick(t *testing.T) {
	p := start(t, t.TempDir(), resettable)
	var took []time.Duration
	for range 7 {
		p.storage("quick")
		p.environment()
		p.createEndpoint("quick", object{"type": "SystemAssigned"})
		began := time.Now()
		p.must(p.arm("POST", resetPath, groupVersion, nil), 200)
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	t.Logf("resets: %v", took)
	if median := took[len(took)/2]; median > 100*time.Millisecond {
		t.Errorf("a reset takes %v", median)
	}
}
