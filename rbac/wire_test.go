package rbac

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"lapis/armid"
	"lapis/fault"
)

func TestRenderedAssignment(t *testing.T) {
	scope := armid.ResourceGroup("s", "rg")
	at := time.Date(2026, 11, 22, 9, 0, 0, 5000, time.UTC)
	a := Assignment{Name: guid(1), Scope: scope, RoleID: AcrPull, PrincipalID: guid(2), PrincipalType: ServicePrincipal, CreatedOn: at, UpdatedOn: at, CreatedBy: guid(3)}
	got, err := json.MarshalIndent(RenderAssignment(a, scope), "", " ")
	if err != nil {
		t.Fatal(err)
	}
	want := `{
 "id": "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Authorization/roleAssignments/` + guid(1) + `",
 "name": "` + guid(1) + `",
 "type": "Microsoft.Authorization/roleAssignments",
 "properties": {
  "roleDefinitionId": "/subscriptions/s/providers/Microsoft.Authorization/roleDefinitions/7f951dda-4ed3-4680-a7ca-43fe172d538d",
  "principalId": "` + guid(2) + `",
  "principalType": "ServicePrincipal",
  "scope": "/subscriptions/s/resourceGroups/rg",
  "description": null,
  "condition": null,
  "conditionVersion": null,
  "createdOn": "2026-11-22T09:00:00.0000050Z",
  "updatedOn": "2026-11-22T09:00:00.0000050Z",
  "createdBy": "` + guid(3) + `",
  "updatedBy": null
 }
}`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Error(diff)
	}
	a.Scope = armid.Root
	if got := RenderAssignment(a, scope); got.Properties.RoleDefinitionID != RoleDefinitionID(scope, AcrPull) || got.Properties.Scope != "/" ||
		got.ID != "/providers/Microsoft.Authorization/roleAssignments/"+guid(1) {
		t.Errorf("at the root: %+v", got)
	}
}

func TestRenderedRoleHasNoNull(t *testing.T) {
	for _, r := range BuiltInRoles() {
		got, err := json.Marshal(RenderRole(r, armid.Subscription("s")))
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(got), "null") || strings.Contains(string(got), "createdOn") {
			t.Errorf("%s", got)
		}
	}
	role := RenderRole(BuiltInRoles()[0], armid.Root)
	if role.ID != "/providers/Microsoft.Authorization/roleDefinitions/"+Owner || role.Name != Owner || role.Properties.RoleName != "Owner" {
		t.Errorf("%+v", role)
	}
}

func TestParseAssignment(t *testing.T) {
	got, err := ParseAssignment([]byte(`{"properties":{"roleDefinitionId":"r","principalId":"p","principalType":"User","description":"d",
		"condition":null,"canDelegate":null,"scope":"/","createdOn":"x","unknown":{}},"name":"n"}`))
	if diff := cmp.Diff(AssignRequest{RoleDefinitionID: "r", PrincipalID: "p", PrincipalType: "User", Description: "d"}, got, cmp.Comparer(armid.ID.Equal)); err != nil || diff != "" {
		t.Error(err, diff)
	}
	for body, target := range map[string]string{
		``: "", `null`: "properties", `[]`: "", `{}`: "properties", `{"properties":{}}`: "properties.roleDefinitionId",
		`{"properties":{"roleDefinitionId":"r"}}`:                     "properties.principalId",
		`{"properties":{"roleDefinitionId":"r","principalId":7}}`:     "properties.principalId",
		`{"properties":{"roleDefinitionId":"r","principalId":"p"}} x`: "",
	} {
		_, err := ParseAssignment([]byte(body))
		if !fault.HasCode(err, "InvalidRequestContent") || fault.From(err).Target != target || strings.Contains(err.Error(), "Go struct") {
			t.Errorf("%s: %v at %q", body, err, fault.From(err).Target)
		}
	}
}

func TestParseRoleSeesConditions(t *testing.T) {
	body := func(condition string) []byte {
		return []byte(`{"properties":{"roleName":"n","type":"CustomRole","assignableScopes":["/subscriptions/s"],
			"permissions":[{"actions":["A.B/c/read"],"notActions":[],"condition":` + condition + `}]}}`)
	}
	for condition, want := range map[string]bool{`null`: false, `""`: false, `"x"`: true} {
		got, err := ParseRole(body(condition))
		if err != nil || got.Conditional != want || len(got.Permissions) != 1 || got.Permissions[0].Actions[0] != "A.B/c/read" {
			t.Errorf("%s: %+v, %v", condition, got, err)
		}
	}
}

func FuzzBodies(f *testing.F) {
	f.Add([]byte(`{"properties":{"roleDefinitionId":"r","principalId":"p"}}`))
	f.Add([]byte(`{"properties":{"roleName":"n","permissions":[{"actions":["*"]}]}}`))
	f.Add([]byte(`{"properties":null}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		if req, err := ParseAssignment(body); err == nil && (req.PrincipalID == "" || req.RoleDefinitionID == "") {
			t.Errorf("accepted %+v", req)
		} else if err != nil && !fault.Is(err, fault.Invalid) {
			t.Error(err)
		}
		if _, err := ParseRole(body); err != nil && !fault.Is(err, fault.Invalid) {
			t.Error(err)
		}
	})
}
