package lapis_test

import (
	"net/http/httptest"
	"strings"
	"testing"

	"lapis"
)

// served is a platform without its gateway: requests go to its handler.
type served struct {
	server *lapis.Server
	token  string
	base   string // of the default group
}

func serve(tb testing.TB) served {
	tb.Helper()
	server, err := lapis.New(lapis.Config{DataDir: tb.TempDir()})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(server.Close)
	info := server.Client()
	s := served{server: server, base: "/subscriptions/" + info.SubscriptionID + "/resourceGroups/" + info.ResourceGroup}
	login := httptest.NewRequest("POST", "https://login.microsoftonline.com/"+info.TenantID+"/oauth2/v2.0/token",
		strings.NewReader("grant_type=client_credentials&client_id="+info.ClientID+"&client_secret="+info.ClientSecret+"&scope="+armHost+"/.default"))
	w := httptest.NewRecorder()
	server.ServeHTTP(w, login)
	_, rest, _ := strings.Cut(w.Body.String(), `"access_token":"`)
	s.token, _, _ = strings.Cut(rest, `"`)
	if s.token == "" {
		tb.Fatal(w.Body.String())
	}
	return s
}

func (s served) do(tb testing.TB, method, path, body string) *httptest.ResponseRecorder {
	tb.Helper()
	r := httptest.NewRequest(method, armHost+"/", strings.NewReader(body))
	r.URL.Path, r.URL.RawQuery = path, "api-version=2031-01-01"
	r.Header.Set("Authorization", "Bearer "+s.token)
	w := httptest.NewRecorder()
	s.server.ServeHTTP(w, r)
	if w.Code >= 500 && w.Code != 501 {
		tb.Fatalf("%s %q with %q: %d %s", method, path, body, w.Code, w.Body)
	}
	return w
}

// FuzzPut sends bodies to every type that clients write, and then reads what
// came of it: bad input is refused as such, and nothing is taken that cannot be
// read again.
func FuzzPut(f *testing.F) {
	s := serve(f)
	ml := s.base + "/providers/Microsoft.MachineLearningServices/workspaces/lapis"
	targets := []string{
		s.base, s.base + "/providers/Microsoft.Storage/storageAccounts/fuzzed", s.base + "/providers/Microsoft.Storage/storageAccounts/fuzzed/blobServices/default/containers/box",
		s.base + "/providers/Microsoft.ContainerRegistry/registries/fuzzed", s.base + "/" + identityPath("fuzzed"), ml,
		ml + "/codes/fuzzed/versions/1", ml + "/models/fuzzed/versions/1", ml + "/environments/fuzzed/versions/1", ml + "/data/fuzzed/versions/1",
		ml + "/onlineEndpoints/fuzzed", ml + "/onlineEndpoints/fuzzed/deployments/blue",
		s.base + "/providers/Microsoft.Authorization/roleAssignments/00000000-0000-4000-8000-000000000009",
		s.base + "/providers/Microsoft.Authorization/roleDefinitions/00000000-0000-4000-8000-000000000009",
	}
	for _, body := range []string{
		``, `null`, `0`, `"x"`, `[]`, `{}`, `{"location":"local"}`, `{"location":null,"tags":null,"properties":null,"identity":null,"sku":null,"kind":null}`,
		`{"location":"local","sku":{"name":"Standard_LRS"},"kind":"StorageV2","properties":{"allowSharedKeyAccess":"x"}}`,
		`{"location":"local","sku":{"name":"Standard_LRS"},"kind":"StorageV2","properties":{"allowSharedKeyAccess":null}}`,
		`{"location":"local","sku":["a"],"properties":{"metadata":{"a":1}}}`, `{"sku":null}`, `{"sku":{"name":7}}`, `{"sku":{"name":"Basic","capacity":1.5}}`,
		`{"location":"local","identity":{"type":"UserAssigned","userAssignedIdentities":{"":{},"/":null,"x":[]}}}`,
		`{"location":"local","identity":{"type":"SystemAssigned,UserAssigned"},"properties":{"authMode":"Key"}}`,
		`{"location":"local","properties":{"authMode":"Key","traffic":{"blue":1e9}}}`, `{"location":"local","properties":{"traffic":{"a":100}}}`,
		`{"location":"local","properties":{"properties":"x","authMode":3}}`, `{"properties":{"codeUri":"azureml://","isAnonymous":"yes"}}`,
		`{"properties":{"image":"x","condaFile":7,"properties":[1]}}`, `{"properties":{"image":{},"build":[]}}`, `{"properties":{"modelUri":"https://%zz","tags":null,"properties":{"hash_sha256":[]}}}`,
		`{"properties":{"dataUri":"x","dataType":[]}}`, `{"properties":{"storageAccount":"/subscriptions","containerRegistry":3}}`,
		`{"location":"local","properties":{"codeConfiguration":{"codeId":"azureml:a:1","scoringScript":"../x.py"},"environmentId":"x","instanceType":"y","scaleSettings":{"scaleType":""}}}`,
		`{"location":"local","sku":{"name":"Default","capacity":99999999999999999999},"properties":{"requestSettings":{"requestTimeout":"P99999999999999999999D"}}}`,
		`{"properties":{"roleDefinitionId":"x","principalId":"y","principalType":[]}}`, `{"properties":{"roleName":"x","permissions":[{"actions":["*"]}],"assignableScopes":["/",""]}}`,
		"{\"tags\":{\"\\u0000\":\"\\ud800\"}}", `{"TAGS":{"a":"b"},"tags":{"c":"d"}}`, strings.Repeat(`{"properties":`, 500) + `{}` + strings.Repeat(`}`, 500),
	} {
		for i := range targets {
			f.Add(uint8(i), body, i%2 == 0)
		}
	}
	f.Fuzz(func(t *testing.T, target uint8, body string, patch bool) {
		at := targets[int(target)%len(targets)]
		method := "PUT"
		if patch {
			method = "PATCH"
		}
		s.do(t, method, at, body)
		if w := s.do(t, "GET", at, ""); w.Code == 200 && strings.Contains(at, "storageAccounts/fuzzed") {
			s.do(t, "POST", s.base+"/providers/Microsoft.Storage/storageAccounts/fuzzed/listKeys", "")
			s.do(t, "GET", s.base+"/providers/Microsoft.Storage/storageAccounts", "")
		}
	})
}

// FuzzPath sends any path by any method.
func FuzzPath(f *testing.F) {
	s := serve(f)
	for _, path := range []string{
		"", "/", "//", "/subscriptions", "/subscriptions/", "/subscriptions//resourceGroups", "/subscriptions/x/resourceGroups/y/providers",
		"/providers/Microsoft.Authorization/roleAssignments", "/providers/Microsoft.Authorization/roleAssignments/x", "/providers/Lapis.Platform/explain",
		s.base, s.base + "/", strings.ToUpper(s.base), s.base + "/..", s.base + "/./providers", s.base + "/providers/Microsoft.Storage",
		s.base + "/providers/Microsoft.Storage/storageAccounts/a?b", s.base + "/providers/Microsoft.Storage/storageAccounts/\x00", s.base + "/providers/Microsoft.Storage/storageAccounts/ä",
		s.base + "/providers/Microsoft.Storage/storageAccounts/a/providers/Microsoft.Authorization/roleDefinitions", s.base + "/providers/providers/providers/providers",
		s.base + "/providers/Microsoft.Storage/storageAccounts/a/blobServices/b/containers/c/x", "/subscriptions/a/providers/b/locations/c/operationsStatus/d",
		s.base + "/providers/Microsoft.Storage/storageAccounts/" + strings.Repeat("a", 10000), strings.Repeat("/a", 5000), "/metadata/endpoints", "no slash", "/{scope...}", "/{subscription}",
	} {
		for _, method := range []string{"GET", "PUT", "DELETE", "POST", "PATCH", "HEAD"} {
			f.Add(method, path)
		}
	}
	f.Fuzz(func(t *testing.T, method, path string) {
		switch method {
		case "GET", "PUT", "DELETE", "POST", "PATCH", "HEAD", "OPTIONS", "TRACE":
		default:
			return
		}
		if method == "DELETE" && !strings.Contains(strings.ToLower(path), "x") { // what the other inputs need stays
			return
		}
		s.do(t, method, path, "{}")
	})
}
