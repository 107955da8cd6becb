package arm

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"lapis/armid"
	"lapis/fault"
	"lapis/resource"
)

func TestPatternsMatchWithoutRegardToCaseAndSlashes(t *testing.T) {
	const item = "/subscriptions/{subscription}/resourceGroups/{resourceGroup}/providers/Microsoft.Storage/storageAccounts/{storageAccounts}"
	const assignment = "/{scope...}/providers/Microsoft.Authorization/roleAssignments/{name}"
	type vars = map[string]string
	for _, c := range []struct {
		pattern, path string
		want          vars
	}{
		{item, "/subscriptions/S/resourceGroups/G/providers/Microsoft.Storage/storageAccounts/a", vars{"subscription": "S", "resourceGroup": "G", "storageAccounts": "a"}},
		{item, "/SUBSCRIPTIONS/S/resourcegroups/G/Providers/microsoft.storage/STORAGEACCOUNTS/a/", vars{"subscription": "S", "resourceGroup": "G", "storageAccounts": "a"}},
		{item, "//subscriptions//S//resourceGroups/G/providers/Microsoft.Storage/storageAccounts///a", vars{"subscription": "S", "resourceGroup": "G", "storageAccounts": "a"}},
		{item, "/subscriptions/S/resourceGroups/G/providers/Microsoft.Storage/storageAccounts", nil},
		{item, "/subscriptions/S/resourceGroups/G/providers/Microsoft.Storage/storageAccounts/a/b", nil},
		{item, "/subscriptions/S/resourceGroups/G/providers/Microsoft.StorageX/storageAccounts/a", nil},
		{item, "", nil},
		{assignment, "/providers/Microsoft.Authorization/roleAssignments/n", vars{"scope...": "/", "name": "n"}},
		{assignment, "/subscriptions/s/providers/Microsoft.Authorization/roleAssignments/n", vars{"scope...": "/subscriptions/s", "name": "n"}},
		{assignment, "/subscriptions/s/providers/Microsoft.Authorization/roleAssignments", nil},
		{assignment, "/a/providers/Microsoft.Authorization/roleAssignments/x/providers/Microsoft.Authorization/roleAssignments/n", vars{"scope...": "/a/providers/Microsoft.Authorization/roleAssignments/x", "name": "n"}},
	} {
		got, ok := compile(Route{Path: c.pattern}).match(split(c.path))
		if ok != (c.want != nil) || ok && cmp.Diff(c.want, got) != "" {
			t.Errorf("%s on %s: %v %t", c.pattern, c.path, got, ok)
		}
	}
}

// What a row is authorized at is what it works on: filling a pattern with the
// variables of a path gives that path back.
func FuzzExpandGivesThePathBack(f *testing.F) {
	patterns := []string{
		"/subscriptions/{subscription}/resourceGroups/{resourceGroup}", "/{scope...}/providers/Microsoft.Authorization/roleAssignments/{name}",
		"/subscriptions/{subscription}/providers/{namespace}/locations/{location}/operationsStatus/{operation}", "/{scope...}",
	}
	for i, path := range []string{"/subscriptions/a/resourceGroups/b", "//x///y/providers/Microsoft.Authorization/roleAssignments/n/", "/subscriptions/{x}/resourceGroups/{y}", "/", "/{scope...}/a"} {
		f.Add(i%len(patterns), path)
	}
	f.Fuzz(func(t *testing.T, i int, path string) {
		pattern := patterns[(i%len(patterns)+len(patterns))%len(patterns)]
		vars, ok := compile(Route{Path: pattern}).match(split(path))
		if !ok {
			return
		}
		want := "/" + strings.Join(split(path), "/")
		if got := expand(pattern, vars); !strings.EqualFold(got, want) {
			t.Errorf("%s on %q gives %q, want %q", pattern, path, got, want)
		}
	})
}

func TestRowsOfATypeHaveTheirActionsAndScopes(t *testing.T) {
	f := &Face{}
	rows := f.typeRoutes(&resource.Type{Name: "Lapis.Test/as/bs", Actions: []resource.Action{{Name: "listKeys"}, {Name: "go", Permission: "Lapis.Test/as/run/action"}}})
	item := "/subscriptions/{subscription}/resourceGroups/{resourceGroup}/providers/Lapis.Test/as/{as}/bs/{bs}"
	var got []string
	for _, r := range rows {
		got = append(got, fmt.Sprintf("%s %s | %s | %s", r.Method, strings.Replace(r.Path, item, "ITEM", 1), strings.Replace(r.Scope, item, "ITEM", 1), r.Action))
		if r.Version == nil || r.Handle == nil {
			t.Errorf("%s %s has no check of api-versions, or no handler", r.Method, r.Path)
		}
	}
	parent := strings.TrimSuffix(item, "/bs/{bs}")
	want := []string{
		"GET ITEM |  | Lapis.Test/as/bs/read", "HEAD ITEM |  | Lapis.Test/as/bs/read", "GET " + parent + "/bs | " + parent + " | Lapis.Test/as/bs/read",
		"PUT ITEM |  | Lapis.Test/as/bs/write", "PATCH ITEM |  | Lapis.Test/as/bs/write", "DELETE ITEM |  | Lapis.Test/as/bs/delete",
		"POST ITEM/listKeys | ITEM | Lapis.Test/as/bs/listKeys/action", "POST ITEM/go | ITEM | Lapis.Test/as/run/action",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, r := range f.typeRoutes(&resource.Type{Name: "Lapis.Test/as", ReadOnly: true}) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			t.Errorf("a type that is not written has the row %s %s", r.Method, r.Path)
		}
	}
}

func TestFaultsBecomeResourceManagersErrors(t *testing.T) {
	f := &Face{Config: Config{Tenant: "tid"}}
	denied := fault.E(fault.Denied, "AuthorizationFailed", "No.")
	denied.Denial = &fault.Denial{Principal: "p", Role: "Reader", Remedy: "az role assignment create"}
	for _, c := range []struct {
		err    error
		status int
		body   string
	}{
		{fault.E(fault.Invalid, "Bad", "It is bad.").At("properties.x").With(fault.E(fault.Invalid, "Why", "So.")), 400,
			`{"error":{"code":"Bad","message":"It is bad.","target":"properties.x","details":[{"code":"Why","message":"So."}]}}`},
		{denied, 403, `{"error":{"code":"AuthorizationFailed","message":"No.","additionalInfo":[{"type":"LapisDenial","info":{"principal":"p","action":"","scope":"","role":"Reader","roleScope":"","remedy":"az role assignment create"}}]}}`},
		{fault.E(fault.Unauthenticated, "ExpiredAuthenticationToken", "Old."), 401, `{"error":{"code":"ExpiredAuthenticationToken","message":"Old."}}`},
		{resource.NotFound(armid.MustParse("/subscriptions/s/resourceGroups/g")), 404, `{"error":{"code":"ResourceGroupNotFound","message":"Resource group 'g' could not be found."}}`},
	} {
		w := httptest.NewRecorder()
		f.drawError(w, httptest.NewRequest("GET", "/", nil), c.err)
		if w.Code != c.status || w.Body.String() != c.body {
			t.Errorf("%v: %d %s", c.err, w.Code, w.Body)
		}
		if (c.status == 401) != (w.Header().Get("WWW-Authenticate") != "") || (c.status == 403) != (w.Header().Get("x-lapis-denied") != "") {
			t.Errorf("%v: headers %v", c.err, w.Header())
		}
	}
}

func TestEveryKindOfFaultHasAStatus(t *testing.T) {
	for kind := fault.Internal; kind <= fault.ModelFailed; kind++ {
		if statuses[kind] < 400 {
			t.Errorf("kind %d has the status %d", kind, statuses[kind])
		}
	}
}

func TestNextLinkKeepsTheQuestion(t *testing.T) {
	f := &Face{}
	r := httptest.NewRequest("GET", "https://management.azure.com/subscriptions/s/resources?$filter=name+eq+%27a%26b%27&api-version=1&$skiptoken=old&$Top=2", nil)
	link, err := url.Parse(f.nextLink(&Request{Request: r, Params: r.URL.Query()}, "/subscriptions/s/x y"))
	if err != nil {
		t.Fatal(err)
	}
	q := link.Query()
	if q.Get("$filter") != "name eq 'a&b'" || q.Get("$skiptoken") != "/subscriptions/s/x y" || len(q["$skiptoken"]) != 1 || q.Get("$Top") != "2" || link.Host != "management.azure.com" {
		t.Errorf("%s", link)
	}
}

func FuzzResourceFilter(f *testing.F) {
	for _, seed := range []string{"", "resourceType eq 'Microsoft.Storage/storageAccounts'", "name eq 'it''s' and location eq 'x'", "name eq '", "x", " and and ", "name eq ''''"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		keep, err := parseResourceFilter(text)
		if err != nil {
			if !fault.Is(err, fault.Invalid) {
				t.Errorf("%q: %v", text, err)
			}
			return
		}
		keep(armid.MustParse("/subscriptions/s/resourceGroups/g/providers/A.B/cs/d"), resource.Resource{Location: "x"})
	})
}

func TestBodiesAreJSONOfABoundedSize(t *testing.T) {
	for _, c := range []struct{ body, code string }{
		{"", ""}, {" \n", ""}, {`{"a":1}`, ""}, {`{`, "InvalidRequestContent"}, {`{} x`, "InvalidRequestContent"},
		{`"` + strings.Repeat("x", maxBody) + `"`, "RequestContentTooLarge"}, {strings.Repeat("[", 100000), "InvalidRequestContent"},
	} {
		data, err := body(httptest.NewRequest("PUT", "/", strings.NewReader(c.body)))
		if c.code == "" && err != nil || c.code != "" && !fault.HasCode(err, c.code) {
			t.Errorf("%.20q: %v", c.body, err)
		}
		if err == nil && data != nil && !json.Valid(data) {
			t.Errorf("%.20q came through", c.body)
		}
	}
}
