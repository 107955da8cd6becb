package graph

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"lapis/fault"
)

const (
	personID = "b0b00000-0000-4000-8000-000000000001"
	appID    = "a9900000-0000-4000-8000-000000000002"
	clientID = "c1100000-0000-4000-8000-000000000003"
	idID     = "1d000000-0000-4000-8000-000000000004"
	idClient = "1dc00000-0000-4000-8000-000000000005"
	tenant   = "7e000000-0000-4000-8000-000000000006"
	resource = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.ManagedIdentity/userAssignedIdentities/my-id"
)

func people() []Principal {
	return []Principal{
		{ObjectID: personID, DisplayName: "Local Owner", Kind: User},
		{ObjectID: appID, AppID: clientID, DisplayName: "ci's runner", Kind: Application, Names: []string{"api://ci"}, CreatedAt: time.Unix(1_800_000_000, 0)},
		{ObjectID: idID, AppID: idClient, DisplayName: "my-id", Kind: ManagedIdentity, ResourceID: resource, UserAssigned: true},
	}
}

func handler() http.Handler {
	return New(Config{
		Principals: people, Tenant: Tenant{ID: tenant, DisplayName: "Local", Domain: "lapis.onmicrosoft.com"},
		Verify: func(_ context.Context, raw string) (string, error) {
			switch raw {
			case "app":
				return appID, nil
			case "person":
				return personID, nil
			case "expired":
				return "", fault.E(fault.Unauthenticated, "InvalidToken", "Lifetime validation failed, the token is expired.")
			case "broken":
				return "", fault.Wrap(errors.New("disk on fire"), "reading keys")
			}
			return "", errors.New("secret detail")
		},
		Now: func() time.Time { return time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC) },
	})
}

type answer struct {
	status int
	header http.Header
	body   string
	value  []string // ids of a list
	id     string
	code   string
	text   string
	next   string
}

func ask(t *testing.T, method, target, token, body string) answer {
	t.Helper()
	r := httptest.NewRequest(method, "https://graph.microsoft.com"+target, strings.NewReader(body))
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	w := httptest.NewRecorder()
	handler().ServeHTTP(w, r)
	var b struct {
		ID    string
		Value []struct{ ID string }
		Next  string `json:"@odata.nextLink"`
		Error struct{ Code, Message string }
	}
	raw, _ := io.ReadAll(w.Body)
	if err := json.Unmarshal(raw, &b); err != nil {
		t.Fatalf("%s %s: %v in %s", method, target, err, raw)
	}
	a := answer{status: w.Code, header: w.Header(), body: string(raw), id: b.ID, code: b.Error.Code, text: b.Error.Message, next: b.Next}
	for _, v := range b.Value {
		a.value = append(a.value, v.ID)
	}
	return a
}

func filtered(path, filter string) string {
	return path + "?" + url.Values{"$filter": {filter}}.Encode()
}

func TestServicePrincipalIsFoundByEveryName(t *testing.T) {
	for filter, want := range map[string]string{
		"servicePrincipalNames/any(c:c eq '" + clientID + "')":                  appID,
		"servicePrincipalNames/any(c:c eq '" + strings.ToUpper(idClient) + "')": idID,
		"servicePrincipalNames/any(x: x eq 'api://ci')":                         appID,
		"servicePrincipalNames/any(c:c eq '" + appID + "')":                     "",
		"appId eq '" + clientID + "'":                                           appID,
		"displayName eq 'ci''s runner'":                                         appID,
		"startswith(displayName,'MY-')":                                         idID,
		"displayName eq 'my-id' and servicePrincipalType eq 'Application'":      "",
		"displayName eq 'my-id' and servicePrincipalType eq 'ManagedIdentity'":  idID,
		"displayName eq 'Local Owner'":                                          "",
		"id eq '" + idID + "'":                                                  idID,
	} {
		a := ask(t, "GET", filtered("/v1.0/servicePrincipals", filter), "app", "")
		if a.status != 200 || strings.Join(a.value, " ") != want {
			t.Errorf("%s: %d %v, want %q", filter, a.status, a.value, want)
		}
	}
	a := ask(t, "GET", filtered("/v1.0/users", "userPrincipalName eq 'local.owner@lapis.onmicrosoft.com'"), "app", "")
	if strings.Join(a.value, " ") != personID {
		t.Errorf("user: %+v", a)
	}
}

func TestGetByIDsLeavesOutTheUnknown(t *testing.T) {
	types := `"types":["user","group","servicePrincipal","directoryObjectPartnerReference"]`
	for body, want := range map[string]string{
		`{"ids":["` + appID + `","` + tenant + `"],` + types + `}`:                   appID,
		`{"ids":["` + strings.ToUpper(idID) + `","` + personID + `"],` + types + `}`: personID + " " + idID,
		`{"ids":["` + personID + `","` + idID + `"],"types":["servicePrincipal"]}`:   idID,
		`{"ids":["` + personID + `"]}`:                                               personID,
	} {
		a := ask(t, "POST", "/v1.0/directoryObjects/getByIds", "app", body)
		if a.status != 200 || strings.Join(a.value, " ") != want {
			t.Errorf("%s: %d %v", body, a.status, a.value)
		}
	}
	a := ask(t, "POST", "/v1.0/directoryObjects/getByIds", "app", `{"ids":["`+idID+`"]}`)
	want := `{"@odata.context":"https://graph.microsoft.com/v1.0/$metadata#directoryObjects","value":[{"@odata.type":"#microsoft.graph.servicePrincipal","id":"` + idID +
		`","appId":"` + idClient + `","displayName":"my-id","appDisplayName":"my-id","servicePrincipalType":"ManagedIdentity","servicePrincipalNames":["` + idClient +
		`"],"alternativeNames":["isExplicit=True","` + resource + `"],"accountEnabled":true,"appOwnerOrganizationId":"` + tenant + `","tags":[]}]}`
	if diff := cmp.Diff(want, strings.TrimSpace(a.body)); diff != "" {
		t.Error(diff)
	}
}

func TestErrorsAreGraphs(t *testing.T) {
	cases := []struct {
		method, target, token, body string
		status                      int
		code                        string
	}{
		{"GET", "/v1.0/servicePrincipals/" + tenant, "app", "", 404, "Request_ResourceNotFound"},
		{"GET", "/v1.0/servicePrincipals/" + personID, "app", "", 404, "Request_ResourceNotFound"},
		{"GET", "/v1.0/me", "app", "", 400, "BadRequest"},
		{"GET", "/v1.0/nonsense", "app", "", 400, "BadRequest"},
		{"GET", "/v1.0/", "app", "", 400, "BadRequest"},
		{"GET", "/beta/me", "app", "", 400, "BadRequest"},
		{"GET", "/v1.0/applications", "app", "", 501, "notSupported"},
		{"POST", "/v1.0/servicePrincipals", "app", "{}", 501, "notSupported"},
		{"DELETE", "/v1.0/servicePrincipals/" + appID, "app", "", 501, "notSupported"},
		{"GET", "/v1.0/directoryObjects/getByIds", "app", "", 404, "Request_ResourceNotFound"}, // reads as an id
		{"PUT", "/v1.0/directoryObjects/getByIds", "app", "", 405, "Request_BadRequest"},
		{"GET", filtered("/v1.0/servicePrincipals", "secret eq 'x'"), "app", "", 400, "Request_UnsupportedQuery"},
		{"GET", filtered("/v1.0/servicePrincipals", "appId eq 'a' or appId eq 'b'"), "app", "", 400, "Request_UnsupportedQuery"},
		{"GET", "/v1.0/servicePrincipals?$search=x", "app", "", 400, "Request_UnsupportedQuery"},
		{"GET", "/v1.0/servicePrincipals?$top=0", "app", "", 400, "Request_BadRequest"},
		{"GET", "/v1.0/servicePrincipals?$top=1&$top=2", "app", "", 400, "Request_BadRequest"},
		{"GET", "/v1.0/servicePrincipals?$filter=%zz", "app", "", 400, "BadRequest"},
		{"POST", "/v1.0/directoryObjects/getByIds", "app", "", 400, "BadRequest"},
		{"POST", "/v1.0/directoryObjects/getByIds", "app", "{}", 400, "Request_BadRequest"},
		{"POST", "/v1.0/directoryObjects/getByIds", "app", `{"ids":["me"]}`, 400, "Request_BadRequest"},
		{"POST", "/v1.0/directoryObjects/getByIds", "app", `{"ids":"` + appID + `"}`, 400, "BadRequest"},
		{"POST", "/v1.0/directoryObjects/getByIds", "app", strings.Repeat(" ", maxBody+1), 413, "Request_EntityTooLarge"},
		{"GET", "/v1.0/me", "", "", 401, "InvalidAuthenticationToken"},
		{"GET", "/v1.0/me", "forged", "", 401, "InvalidAuthenticationToken"},
		{"GET", "/v1.0/me", "expired", "", 401, "InvalidAuthenticationToken"},
		{"GET", "/v1.0/me", "broken", "", 500, "InternalServerError"},
	}
	for _, c := range cases {
		a := ask(t, c.method, c.target, c.token, c.body)
		if a.status != c.status || a.code != c.code || a.text == "" {
			t.Errorf("%s %s: %d %s %q, want %d %s", c.method, c.target, a.status, a.code, a.text, c.status, c.code)
		}
		if strings.Contains(a.body, "secret detail") || strings.Contains(a.body, "disk on fire") {
			t.Errorf("%s %s shows too much: %s", c.method, c.target, a.body)
		}
		if (c.status == 401) != (a.header.Get("WWW-Authenticate") != "") || a.header.Get("request-id") == "" {
			t.Errorf("%s %s: headers %v", c.method, c.target, a.header)
		}
	}
}

func TestNoRouteIsOpen(t *testing.T) {
	for _, row := range New(Config{Principals: people}).(*face).routes {
		target := "/v1.0/" + strings.ReplaceAll(row.path, "{id}", appID)
		for _, token := range []string{"", "forged", "expired"} {
			if a := ask(t, row.method, target, token, "{}"); a.status != 401 || strings.Contains(a.body, "runner") {
				t.Errorf("%s %s with %q: %d %s", row.method, target, token, a.status, a.body)
			}
		}
	}
}

func TestMeAndOrganization(t *testing.T) {
	if a := ask(t, "GET", "/v1.0/ME?$select=id", "person", ""); a.status != 200 || a.id != personID {
		t.Errorf("%+v", a)
	}
	a := ask(t, "GET", "/v1.0/organization", "app", "")
	if a.status != 200 || strings.Join(a.value, " ") != tenant || !strings.Contains(a.body, `"name":"lapis.onmicrosoft.com"`) {
		t.Errorf("%+v", a)
	}
	if a := ask(t, "GET", "/v1.0/serviceprincipals/"+strings.ToUpper(appID), "app", ""); a.status != 200 || a.id != appID || strings.Contains(a.body, "@odata.type") {
		t.Errorf("%+v", a)
	}
}

func TestPagesHoldEverybodyOnce(t *testing.T) {
	var got []string
	target := "/v1.0/servicePrincipals?$top=1"
	for range 5 {
		a := ask(t, "GET", target, "app", "")
		got = append(got, a.value...)
		if a.next == "" {
			break
		}
		u, err := url.Parse(a.next)
		if err != nil || u.Host != "graph.microsoft.com" {
			t.Fatal(a.next, err)
		}
		target = u.RequestURI()
	}
	if diff := cmp.Diff([]string{appID, idID}, got); diff != "" {
		t.Error(diff)
	}
}

func FuzzFilter(f *testing.F) {
	for _, s := range []string{"", "appId eq 'x'", "servicePrincipalNames/any(c:c eq 'x')", "startswith(displayName,'a''b') and id eq ''", "a(", "id eq '", "and", "/any(:"} {
		f.Add(s)
	}
	all := people()
	f.Fuzz(func(t *testing.T, text string) {
		m, err := parseFilter(text, "d")
		if err != nil {
			if !fault.Is(err, fault.Invalid) {
				t.Error(err)
			}
			return
		}
		for i := range all {
			m(&all[i])
		}
	})
}

func FuzzGetByIDs(f *testing.F) {
	f.Add([]byte(`{"ids":["` + appID + `"],"types":["user"]}`))
	f.Add([]byte(`{"ids":[null],"types":null}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		q, err := parseIDs(body)
		if err != nil && !fault.Is(err, fault.Invalid) {
			t.Error(err)
		}
		if err == nil && (len(q.IDs) == 0 || len(q.IDs) > maxIDs) {
			t.Errorf("took %d ids", len(q.IDs))
		}
	})
}
