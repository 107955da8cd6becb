package lapis_test

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lapis"
)

// A custom role acts wherever it is assignable: who writes it at one scope must
// be allowed to at all of them, those that it had before included.
func TestCustomRoleTakesTheRightAtEveryScopeOfIts(t *testing.T) {
	p := start(t, t.TempDir())
	const version = "2022-04-01"
	who, token := p.application("owner of one group")
	one, two := "/subscriptions/"+p.info.SubscriptionID+"/resourceGroups/first-one", "/subscriptions/"+p.info.SubscriptionID+"/resourceGroups/second-one"
	for _, group := range []string{one, two} {
		p.must(p.arm("PUT", group, groupVersion, object{"location": p.info.Location}), 201)
	}
	p.grant(who, "Owner", one)
	body := func(name string, scopes ...string) object {
		return object{"properties": object{"roleName": name, "assignableScopes": scopes, "permissions": []object{{"actions": []string{"*"}}}}}
	}
	at := func(scope, id string) string {
		return scope + "/providers/Microsoft.Authorization/roleDefinitions/" + id
	}
	const mine, others = "11111111-2222-4333-8444-000000000001", "11111111-2222-4333-8444-000000000002"
	for name, scopes := range map[string][]string{
		"another group": {two}, "its group and another": {one, two}, "the subscription": {"/subscriptions/" + p.info.SubscriptionID},
	} {
		a := p.armAs(token, "PUT", at(one, mine), version, body("Everything", scopes...))
		if a.status != 403 || a.str("error.code") != "AuthorizationFailed" {
			t.Errorf("a role for %s: %d %s", name, a.status, a.text)
		}
	}
	p.must(p.arm("GET", at(one, mine), version, nil), 404)
	p.must(p.armAs(token, "PUT", at(one, mine), version, body("Mine", one)), 201)

	p.must(p.arm("PUT", at(two, others), version, body("Others", two)), 201)
	for what, a := range map[string]answer{
		"takes over another's role": p.armAs(token, "PUT", at(one, others), version, body("Others", one)),
		"deletes another's role":    p.armAs(token, "DELETE", at(one, others), version, nil),
	} {
		if a.status != 403 {
			t.Errorf("whoever owns one group %s: %d %s", what, a.status, a.text)
		}
	}
	if a := p.must(p.arm("GET", at(two, others), version, nil), 200); !strings.Contains(a.text, "second-one") {
		t.Errorf("the other role now: %s", a.text)
	}
	p.must(p.armAs(token, "DELETE", at(one, mine), version, nil), 200)
}

// Nobody learns without a token what is served and what is not.
func TestUnknownAddressesAskForATokenToo(t *testing.T) {
	p := start(t, t.TempDir())
	for _, path := range []string{"/", "/nothing", p.group() + "/providers/Microsoft.Storage/things/x", p.workspace() + "/listKeys"} {
		for _, method := range []string{"GET", "DELETE", "OPTIONS"} {
			if a := p.do(method, armHost+path+"?api-version="+mlVersion, nil, nil); a.status != 401 {
				t.Errorf("%s %s: %d %s", method, path, a.status, a.text)
			}
		}
	}
}

func TestDamagedMasterKeyIsSaidPlainly(t *testing.T) {
	dir := t.TempDir()
	start(t, dir).stop()
	name := filepath.Join(dir, "master.key")
	key, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, key[:len(key)-1], 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := lapis.New(lapis.Config{DataDir: dir}); err == nil || !strings.Contains(err.Error(), "damaged") || !strings.Contains(err.Error(), name) {
		t.Errorf("a key that was cut: %v", err)
	}
	key[0] ^= 1
	if err := os.WriteFile(name, key, 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err := lapis.New(lapis.Config{DataDir: dir}); err == nil { // nothing that is sealed opens: better no start than one that serves nobody
		s.Close()
		t.Error("it starts with the key of another")
	}
}

// Where the owner's secret is lost or wrong, the next start gives another.
func TestLostOwnersSecretIsReplaced(t *testing.T) {
	dir := t.TempDir()
	p := start(t, dir)
	first := p.info
	p.stop()
	name := filepath.Join(dir, "client.json")
	good, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for what, spoil := range map[string]func() error{
		"wrong": func() error {
			return os.WriteFile(name, []byte(strings.ReplaceAll(string(good), first.ClientSecret, "guessed")), 0o600)
		},
		"lost":   func() error { return os.Remove(name) },
		"broken": func() error { return os.WriteFile(name, []byte("{"), 0o600) },
	} {
		if err := spoil(); err != nil {
			t.Fatal(err)
		}
		again := start(t, dir)
		if again.info.ClientSecret == first.ClientSecret || again.info.ClientSecret == "guessed" || again.info.ClientID != first.ClientID {
			t.Errorf("%s: the secret is not another one of the same owner", what)
		}
		again.must(again.arm("GET", again.workspace(), mlVersion, nil), 200)
		again.stop()
	}
}

// Names of Azure never leave the machine, whatever is allowed otherwise.
func TestAzureNamesThatAreNotServedGoNowhere(t *testing.T) {
	for _, deny := range []bool{false, true} {
		p := start(t, t.TempDir(), func(c *lapis.Config) { c.EgressDeny = deny })
		ask := func(address string) (int, map[string]any) {
			req, err := http.NewRequest("GET", address, nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := p.http.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = resp.Body.Close() }()
			var body map[string]any
			_ = json.NewDecoder(resp.Body).Decode(&body)
			return resp.StatusCode, body
		}
		for _, host := range []string{"secrets.vault.azure.net", "outlook.office365.azure.com", "tables.table.core.windows.net", "eastus.api.azureml.ms", "login.microsoftonline.us"} {
			if status, body := ask("http://" + host + "/"); status != 400 && status != 403 {
				t.Errorf("http://%s with EgressDeny %t: %d %v", host, deny, status, body)
			}
			if resp, err := p.http.Get("https://" + host + "/"); err == nil {
				_ = resp.Body.Close()
				t.Errorf("https://%s with EgressDeny %t: %s", host, deny, resp.Status)
			} else if !strings.Contains(err.Error(), "never passes") {
				t.Errorf("https://%s with EgressDeny %t: %v", host, deny, err)
			}
		}
		if deny {
			if status, body := ask("http://example.org/"); status != 403 {
				t.Errorf("another name: %d %v", status, body)
			}
		}
		p.stop()
	}
}
