package dataplane

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"lapis/armid"
	"lapis/blob"
)

// TestEveryRouteNeedsAnAction walks the table: no row is anonymous, and none
// can be reached without a decision.
func TestEveryRouteNeedsAnAction(t *testing.T) {
	for _, row := range routes() {
		if !strings.HasPrefix(row.action, provider) {
			t.Errorf("%s %s: action %q", row.method, row.op, row.action)
		}
		if isData := strings.Contains(row.action, "containers/blobs/"); isData != row.data {
			t.Errorf("%s: %s data=%v", row.op, row.action, row.data)
		}
		if writes := row.method == http.MethodPut || row.method == http.MethodDelete; writes && (strings.HasSuffix(row.action, "/read") || strings.ContainsAny(row.sas, "rl")) {
			t.Errorf("%s changes things with the right to read: %+v", row.op, row.need)
		}
		if strings.ContainsAny(row.sas, row.sasNew) && row.sasNew != "" {
			t.Errorf("%s: %q makes and replaces", row.op, row.sasNew)
		}
	}
}

func TestNoRouteIsShadowed(t *testing.T) {
	h := New(Config{})
	for _, row := range routes() {
		q := &request{http: httptest.NewRequest(row.method, "/", nil), query: map[string][]string{}}
		if row.level == atContainer || row.level == atBlob {
			q.container = "c"
		}
		if row.level == atBlob {
			q.blob = "b"
		}
		if row.restype != "" {
			q.query.Set("restype", row.restype)
		}
		if row.comp != "" {
			q.query.Set("comp", row.comp)
		}
		for name := range strings.SplitSeq(row.with, "+") {
			if name != "" {
				q.http.Header.Set(name, "x")
			}
		}
		if got, err := h.route(q); err != nil || got.op != row.op {
			t.Errorf("%s %s: got %+v, %v", row.method, row.op, got, err)
		}
	}
}

// TestNoRouteAnswersTheUnknown sends every row's request without, and with a
// worthless, credential.
func TestNoRouteAnswersTheUnknown(t *testing.T) {
	service, account := blobService(t)
	h := New(Config{Service: service, Accounts: account, Verify: noToken, Authorize: noRole, AuthorizationURI: "https://login/x"})
	paths := map[level]string{atService: "/", atContainer: "/data", atBlob: "/data/b", atAny: "/"}
	for _, row := range routes() {
		for credential, want := range map[string]int{"": 401, "Bearer x": 401, "Bearer known": 403, "SharedKey acct:AAAA": 400, "Basic x": 400} {
			r := httptest.NewRequest(row.method, "http://acct.blob.core.windows.net"+paths[row.level]+"?restype="+row.restype+"&comp="+row.comp, nil)
			for name := range strings.SplitSeq(row.with, "+") {
				r.Header.Set(name, "x")
			}
			r.Header.Set("x-ms-version", "2021-12-02")
			if credential != "" {
				r.Header.Set("Authorization", credential)
			}
			rec := httptest.NewRecorder()
			h.ServeHTTP(rec, r)
			if rec.Code != want {
				t.Errorf("%s with %q: status %d, not %d", row.op, credential, rec.Code, want)
			}
			if want == 401 && rec.Header().Get("WWW-Authenticate") != "Bearer authorization_uri=https://login/x resource_id=https://storage.azure.com" {
				t.Errorf("%s: challenge %q", row.op, rec.Header().Get("WWW-Authenticate"))
			}
		}
	}
}

func TestScopeEndsAtTheContainer(t *testing.T) {
	id := armid.MustParse("/subscriptions/s/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/acct")
	h := New(Config{})
	if got := h.scope(blob.Account{ID: id}, "data").String(); got != id.String()+"/blobServices/default/containers/data" {
		t.Error(got)
	}
	if got := h.scope(blob.Account{ID: id}, ""); !got.Equal(id) {
		t.Error(got)
	}
}
