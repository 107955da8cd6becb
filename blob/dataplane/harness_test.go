package dataplane_test

import (
	"context"
	"encoding/base64"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"lapis/armid"
	"lapis/blob"
	"lapis/blob/dataplane"
	"lapis/content"
	contentmemory "lapis/content/memory"
	"lapis/fault"
	"lapis/secret"
	"lapis/store"
	storememory "lapis/store/memory"
)

// world is one account behind one handler.
type world struct {
	t       testing.TB
	service *blob.Service
	handler *dataplane.Handler
	account blob.Account

	mu    sync.Mutex
	now   time.Time
	roles map[string]bool // principal|action|scope key
	asked []string        // what Authorize was asked
}

const (
	tenant      = "11111111-2222-3333-4444-555555555555"
	accountName = "stlapis"
	accountHost = accountName + ".blob.core.windows.net"
	authorize   = "https://login.microsoftonline.com/11111111-2222-3333-4444-555555555555/oauth2/authorize"
)

var accountKey = base64.StdEncoding.EncodeToString([]byte("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"))

func newWorld(t testing.TB, change ...func(*dataplane.Config)) *world {
	return newWorldOn(t, storememory.New(), contentmemory.New(), change...)
}

func newWorldOn(t testing.TB, records store.Store, bytes content.Store, change ...func(*dataplane.Config)) *world {
	t.Helper()
	w := &world{t: t, now: time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC), roles: map[string]bool{}}
	w.account = blob.Account{
		Name:           accountName,
		ID:             armid.MustParse("/subscriptions/s1/resourceGroups/rg1/providers/Microsoft.Storage/storageAccounts/" + accountName),
		Keys:           [2]secret.String{secret.New(accountKey), secret.New(base64.StdEncoding.EncodeToString([]byte("the second key")))},
		Delegation:     secret.New("the secret of delegation"),
		AllowSharedKey: true, CreatedAt: w.now, SKU: "Standard_LRS", Kind: "StorageV2",
	}
	var err error
	if w.service, err = blob.New(blob.Config{Store: records, Content: bytes, Now: w.clock}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.service.Close)
	c := dataplane.Config{
		Service: w.service, Accounts: w.find, Verify: verify, Authorize: w.decide,
		AuthorizationURI: authorize, Tenant: tenant, Now: w.clock, Secure: func(*http.Request) bool { return true },
	}
	for _, fn := range change {
		fn(&c)
	}
	w.handler = dataplane.New(c)
	return w
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) advance(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

func (w *world) find(_ context.Context, name string) (blob.Account, error) {
	if name != w.account.Name {
		return blob.Account{}, fault.E(fault.NotFound, "ResourceNotFound", "no such account")
	}
	return w.account, nil
}

// verify takes tokens of the form "token-of-{principal}".
func verify(_ context.Context, raw string) (string, error) {
	principal, ok := strings.CutPrefix(raw, "token-of-")
	if !ok {
		return "", fault.E(fault.Unauthenticated, "ExpiredToken", "The token has expired.")
	}
	return principal, nil
}

func (w *world) grant(principal, action string, scope armid.ID) {
	w.roles[principal+"|"+action+"|"+scope.Key()] = true
}

func (w *world) decide(_ context.Context, principal, action string, data bool, scope armid.ID) error {
	w.asked = append(w.asked, action)
	for at := scope; ; at = at.Parent() {
		if w.roles[principal+"|"+action+"|"+at.Key()] {
			return nil
		}
		if at.IsRoot() {
			break
		}
	}
	e := fault.E(fault.Denied, "AuthorizationFailed", "denied")
	e.Denial = &fault.Denial{
		Principal: principal, Action: action, Scope: scope.String(), Role: "Storage Blob Data Reader",
		RoleScope: w.account.ID.String(), Remedy: "az role assignment create --role 'Storage Blob Data Reader'",
	}
	return e
}

// call is one request under way to the handler.
type call struct {
	method, path, body string
	header             map[string]string
	length             int64 // of the declared body; 0 takes body's
}

func (w *world) do(c call) *http.Response {
	w.t.Helper()
	r := httptest.NewRequest(c.method, "https://"+accountHost+c.path, strings.NewReader(c.body))
	for name, value := range c.header {
		r.Header.Set(name, value)
	}
	if r.Header.Get("x-ms-version") == "" {
		r.Header.Set("x-ms-version", "2021-12-02")
	} else if c.header["x-ms-version"] == "none" {
		r.Header.Del("x-ms-version")
	}
	if c.length != 0 {
		r.ContentLength = c.length
	}
	rec := httptest.NewRecorder()
	w.handler.ServeHTTP(rec, r)
	return rec.Result()
}

// owner adds a token of somebody who may do everything.
func (w *world) owner(c call) call {
	w.roles["owner|"] = true
	for _, action := range []string{
		"read", "write", "getInfo/action", "generateUserDelegationKey/action", "containers/read", "containers/write", "containers/delete",
		"containers/getAcl/action", "containers/setAcl/action", "containers/blobs/read", "containers/blobs/write", "containers/blobs/delete",
		"containers/blobs/add/action", "containers/blobs/filter/action", "containers/blobs/tags/read", "containers/blobs/tags/write",
		"containers/blobs/immutableStorage/runAsSuperUser/action",
	} {
		w.grant("owner", "Microsoft.Storage/storageAccounts/blobServices/"+action, w.account.ID)
	}
	return withHeader(c, "Authorization", "Bearer token-of-owner")
}

func withHeader(c call, name, value string) call {
	header := map[string]string{name: value}
	for k, v := range c.header {
		header[k] = v
	}
	c.header = header
	return c
}

// must sends a request as the owner and insists on a status.
func (w *world) must(status int, c call) *http.Response {
	w.t.Helper()
	res := w.do(w.owner(c))
	if res.StatusCode != status {
		w.t.Fatalf("%s %s: status %d, not %d: %s %s", c.method, c.path, res.StatusCode, status, res.Header.Get("x-ms-error-code"), text(res))
	}
	return res
}

func (w *world) container(name string) {
	w.t.Helper()
	w.must(201, call{method: "PUT", path: "/" + name + "?restype=container"})
}

func (w *world) put(path, body string) *http.Response {
	w.t.Helper()
	return w.must(201, call{method: "PUT", path: path, body: body, header: map[string]string{"x-ms-blob-type": "BlockBlob"}})
}

func text(res *http.Response) string {
	data, _ := io.ReadAll(res.Body)
	return string(data)
}

func get(path string) call { return call{method: "GET", path: path} }

func query(pairs ...string) string {
	q := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		q.Set(pairs[i], pairs[i+1])
	}
	return q.Encode()
}

// meta returns a metadata header, whose name must come in lower case.
func meta(res *http.Response, name string) string {
	key := "x-ms-meta-" + name
	if values := res.Header[key]; len(values) == 1 {
		return values[0]
	}
	return ""
}
