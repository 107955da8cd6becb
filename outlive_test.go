package lapis_test

import (
	"strings"
	"testing"
)

// A role at a resource goes with the resource: one of the same name begins
// without the grants of the former.
func TestRolesDoNotOutliveTheirResource(t *testing.T) {
	p := start(t, t.TempDir())
	group := "/subscriptions/" + p.info.SubscriptionID + "/resourceGroups/passing"
	account := group + "/providers/Microsoft.Storage/storageAccounts/passing1"
	endpoint := p.workspace() + "/onlineEndpoints/passing"
	make := func() {
		p.must(p.arm("PUT", group, "2021-04-01", object{"location": p.info.Location}), 201, 200)
		p.must(p.arm("PUT", account, "2023-01-01", object{"location": p.info.Location, "kind": "StorageV2", "sku": object{"name": "Standard_LRS"}}), 200)
		p.createEndpoint("passing", nil)
	}
	make()
	const stranger = "11111111-2222-4333-8444-555555555555"
	scopes := []string{account, group, endpoint}
	for _, scope := range scopes {
		p.grant(stranger, "Reader", scope)
	}
	kept := p.grant(stranger, "Reader", p.workspace())
	p.must(p.arm("DELETE", account, "2023-01-01", nil), 200)
	p.wait(p.must(p.arm("DELETE", group, "2021-04-01", nil), 202))
	p.wait(p.must(p.arm("DELETE", endpoint, mlVersion, nil), 202))
	make()
	for _, scope := range scopes {
		a := p.must(p.arm("GET", scope+"/providers/Microsoft.Authorization/roleAssignments?$filter=atScope()", "2022-04-01", nil), 200)
		if strings.Contains(strings.ToLower(a.text), strings.ToLower(scope)+"/providers/microsoft.authorization") {
			t.Errorf("an assignment outlived %s: %s", scope, a.text)
		}
	}
	p.must(p.arm("GET", kept, "2022-04-01", nil), 200)
}

func TestContainerMetadataIsChangedByResourceManager(t *testing.T) {
	p := start(t, t.TempDir())
	box := p.storage("metadata1") + "/blobServices/default/containers/box"
	p.must(p.arm("PUT", box, "2023-01-01", object{"properties": object{"metadata": object{"colour": "blue"}}}), 200)
	if a := p.must(p.arm("GET", box, "2023-01-01", nil), 200); a.str("properties.metadata.colour") != "blue" {
		t.Errorf("metadata: %s", a.text)
	}
	a := p.arm("PUT", box, "2023-01-01", object{"properties": object{"publicAccess": "Blob"}})
	if a.status != 409 || a.str("error.code") != "PublicAccessNotPermitted" {
		t.Errorf("public access: %d %s", a.status, a.text)
	}
}

func TestScoringAnswersUnderOwnNames(t *testing.T) {
	p := start(t, t.TempDir())
	p.createEndpoint("own-name", nil)
	address := "https://own-name." + p.info.Location + ".inference.ml.lapis.localhost/score"
	if a := p.do("POST", address, map[string]string{"Authorization": "Bearer nonsense"}, []byte("{}")); a.status != 401 {
		t.Errorf("a wrong key: %d %s", a.status, a.text)
	}
	// With the key the endpoint is found, and has no deployment.
	if a := p.do("POST", address, map[string]string{"Authorization": "Bearer " + p.key("own-name")}, []byte("{}")); a.status != 404 || !strings.Contains(a.text, "own-name") {
		t.Errorf("the right key: %d %s", a.status, a.text)
	}
}
