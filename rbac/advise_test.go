package rbac

import (
	"strings"
	"testing"

	"lapis/armid"
)

func TestAdvice(t *testing.T) {
	const ml = "Microsoft.MachineLearningServices/workspaces"
	rg := armid.ResourceGroup("s", "rg")
	account := rg.Provider("Microsoft.Storage/storageAccounts", "a")
	box := account.Child("blobServices", "default").Child("containers", "c")
	registry := rg.Provider("Microsoft.ContainerRegistry/registries", "r")
	workspace := rg.Provider(ml, "w")
	endpoint := workspace.Child("onlineEndpoints", "e")
	identity := rg.Provider("Microsoft.ManagedIdentity/userAssignedIdentities", "i")
	vault := rg.Provider("Microsoft.KeyVault/vaults", "v")
	cases := []struct {
		action string
		data   bool
		scope  armid.ID
		role   string
		at     armid.ID
	}{
		{blobs + "read", true, box.Child("blobs", "x"), "Storage Blob Data Reader", account},
		{blobs + "read", true, box, "Storage Blob Data Reader", account},
		{blobs + "write", true, box, "Storage Blob Data Contributor", account},
		{blobs + "add/action", true, box, "Storage Blob Data Contributor", account},
		{blobs + "tags/read", true, box, "Storage Blob Data Owner", account},
		{containers + "read", false, account, "Storage Blob Data Reader", account},
		{containers + "write", false, box, "Storage Blob Data Contributor", account},
		{blobService + "generateUserDelegationKey/action", false, account, "Storage Blob Delegator", account},
		{storageAccount + "listKeys/action", false, account, "Storage Account Key Operator Service Role", account},
		{storageAccount + "read", false, account, "Reader", account},
		{storageAccount + "write", false, account, "Storage Account Contributor", rg},
		{storageAccount + "delete", false, account, "Storage Account Contributor", account},
		{registries + "pull/read", false, registry, "AcrPull", registry},
		{registries + "push/write", false, registry, "AcrPush", registry},
		{registries + "artifacts/delete", false, registry, "AcrDelete", registry},
		{repositories + "content/read", true, registry.Child("repositories", "x"), "Container Registry Repository Reader", registry},
		{registries + "write", false, registry, "Contributor", rg},
		{ml + "/read", false, workspace, "Reader", workspace},
		{ml + "/write", false, workspace, "Contributor", rg},
		{ml + "/models/versions/read", false, workspace.Child("models", "m").Child("versions", "1"), "Reader", workspace},
		{ml + "/models/versions/write", false, workspace.Child("models", "m").Child("versions", "1"), "AzureML Data Scientist", workspace},
		{ml + "/onlineEndpoints/write", false, endpoint, "AzureML Data Scientist", workspace},
		{ml + "/onlineEndpoints/deployments/write", false, endpoint.Child("deployments", "blue"), "AzureML Data Scientist", endpoint},
		{ml + "/onlineEndpoints/score/action", false, endpoint, "AzureML Data Scientist", endpoint},
		{ml + "/connections/listsecrets/action", false, workspace.Child("connections", "c"), "Azure Machine Learning Workspace Connection Secrets Reader", workspace},
		{identities + "assign/action", false, identity, "Managed Identity Operator", identity},
		{identities + "write", false, identity, "Managed Identity Contributor", rg},
		{identities + "read", false, identity, "Reader", identity},
		{vaults + "secrets/getSecret/action", true, vault.Child("secrets", "s"), "Key Vault Secrets User", vault},
		{"Microsoft.Resources/subscriptions/resourceGroups/read", false, rg, "Reader", rg},
		{"Microsoft.Resources/subscriptions/resourceGroups/write", false, rg, "Contributor", armid.Subscription("s")},
		{"Microsoft.Resources/deployments/write", false, rg.Provider("Microsoft.Resources/deployments", "d"), "Contributor", rg},
		{WriteAssignments, false, account.Provider(AssignmentType, "n"), "Role Based Access Control Administrator", account},
		{ReadAssignments, false, armid.Subscription("s"), "Reader", armid.Subscription("s")},
		{"No.Such/thing/read", true, rg, "", rg},
	}
	snap := NewSnapshot(nil, nil, nil)
	for _, c := range cases {
		got := snap.Advise(Query{PrincipalID: "p", Action: c.action, Data: c.data, Scope: c.scope}, "")
		if got.Role != c.role || !got.Scope.Equal(c.at) {
			t.Errorf("%s at %s: got %q at %s, want %q at %s", c.action, c.scope, got.Role, got.Scope, c.role, c.at)
		}
		if (got.Remedy == "") != (c.role == "") {
			t.Errorf("%s: remedy is %q", c.action, got.Remedy)
		}
	}
}

func TestCustomRoleOfOneRightComesFirst(t *testing.T) {
	mine := Role{ID: guid(1), Name: "Blob Read Only", Type: Custom, AssignableScopes: []string{"/subscriptions/s"}, Permissions: []Permission{{DataActions: []string{blobs + "read"}}}}
	snap := NewSnapshot([]Role{mine}, nil, nil)
	for sub, want := range map[string]string{"s": "Blob Read Only", "other": "Storage Blob Data Reader"} {
		q := Query{PrincipalID: "p", Action: blobs + "read", Data: true, Scope: armid.ResourceGroup(sub, "g").Provider("Microsoft.Storage/storageAccounts", "a")}
		if got := snap.Suggest(q); len(got) < 3 || got[0].Name != want {
			t.Errorf("in subscription %s: %+v", sub, got)
		}
	}
}

func TestRemedyIsSafeInAShell(t *testing.T) {
	mine := Role{ID: guid(1), Name: `x"; rm -rf $HOME; 'y'`, Type: Custom, AssignableScopes: []string{"/subscriptions/s"}, Permissions: []Permission{{Actions: []string{"A.B/c/read"}}}}
	q := Query{PrincipalID: "p q", Action: "A.B/c/read", Scope: armid.MustParse("/subscriptions/s/resourceGroups/g(1)")}
	got := NewSnapshot([]Role{mine}, nil, nil).Advise(q, User).Remedy
	want := `az role assignment create --assignee-object-id 'p q' --assignee-principal-type User --role 'x"; rm -rf $HOME; '\''y'\''' --scope '/subscriptions/s/resourceGroups/g(1)'`
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestExplanationSaysWhyEachAssignmentDoesNotDo(t *testing.T) {
	account := armid.ResourceGroup("s", "rg").Provider("Microsoft.Storage/storageAccounts", "a")
	other := armid.ResourceGroup("s", "rg").Provider("Microsoft.Storage/storageAccounts", "a2")
	taken := Role{ID: guid(1), Name: "Taken", Type: Custom, AssignableScopes: []string{"/"}, Permissions: []Permission{{DataActions: []string{"*"}, NotDataActions: []string{"*/read"}}}}
	snap := NewSnapshot([]Role{taken}, []Assignment{
		{Name: "1", PrincipalID: "p", Scope: other, RoleID: BlobDataReader},
		{Name: "2", PrincipalID: "p", Scope: account, RoleID: AcrPull},
		{Name: "3", PrincipalID: "p", Scope: account, RoleID: guid(1)},
		{Name: "4", PrincipalID: "p", Scope: account, RoleID: Owner},
		{Name: "5", PrincipalID: "p", Scope: account, RoleID: guid(9)},
		{Name: "6", PrincipalID: "p", Scope: account, RoleID: BlobDataReader, Condition: "x"},
		{Name: "7", PrincipalID: "g", Scope: account, RoleID: BlobDataReader},
	}, nil)
	q := Query{PrincipalID: "p", Action: blobs + "read", Data: true, Scope: account}
	want := []Reason{ReasonScope, ReasonLacks, ReasonExcluded, ReasonPlane, ReasonNoRole, ReasonCondition}
	e := snap.Explain(q)
	if e.Decision.Allowed || len(e.Looked) != len(want) {
		t.Fatalf("got %+v", e)
	}
	for i, l := range e.Looked {
		if l.Reason != want[i] {
			t.Errorf("assignment %s: %s (%s), want %s", l.Assignment.Name, l.Reason, l.Detail, want[i])
		}
	}
	if e.Advice.Role != "Storage Blob Data Reader" || len(e.WouldDo) != 3 || e.WouldDo[0].Name != e.Advice.Role {
		t.Errorf("advice %+v, would do %+v", e.Advice, e.WouldDo)
	}
	q.Groups = []string{"g"}
	e = snap.Explain(q)
	if last := e.Looked[len(e.Looked)-1]; !e.Decision.Allowed || last.Reason != ReasonAllows || last.ViaGroup != "g" || !strings.Contains(last.Detail, blobs+"read") {
		t.Errorf("through the group: %+v", last)
	}
}

func TestBuiltInTableIsSound(t *testing.T) {
	ids, names := map[string]bool{}, map[string]bool{}
	for _, r := range BuiltInRoles() {
		if !isGUID(r.ID) || ids[r.ID] || names[r.Name] || r.Description == "" || r.Type != BuiltIn {
			t.Errorf("role %s %q is doubled or incomplete", r.ID, r.Name)
		}
		ids[r.ID], names[r.Name] = true, true
		for _, p := range r.Permissions {
			if len(p.Actions)+len(p.DataActions) == 0 {
				t.Errorf("%s grants nothing", r.Name)
			}
			for _, list := range [][]string{p.Actions, p.NotActions, p.DataActions, p.NotDataActions} {
				for _, text := range list {
					if !validAction(text) {
						t.Errorf("%s has the action %q", r.Name, text)
					}
				}
			}
		}
	}
}
