package lapis_test

import (
	"net/url"
	"testing"
)

// TestOwnNamesAreAudiences: clients of the cloud that the metadata document
// describes ask for tokens by the names in it, and each plane takes them.
func TestOwnNamesAreAudiences(t *testing.T) {
	p := start(t, t.TempDir())
	proxy, err := url.Parse(p.info.Proxy)
	if err != nil {
		t.Fatal(err)
	}
	host := "management.lapis.localhost:" + proxy.Port()
	a := p.must(p.do("GET", "https://"+host+"/metadata/endpoints?api-version=2022-09-01", nil, nil), 200)
	for _, audience := range []string{a.str("resourceManager"), "https://management.lapis.localhost"} {
		header := map[string]string{"Authorization": "Bearer " + p.owner(audience)}
		p.must(p.do("GET", "https://"+host+p.group()+"?api-version=2022-09-01", header, nil), 200)
		if a := p.do("GET", "https://graph.microsoft.com/v1.0/servicePrincipals", header, nil); a.status != 401 {
			t.Errorf("Graph takes a token for %s: %d", audience, a.status)
		}
	}
	header := map[string]string{"Authorization": "Bearer " + p.owner("https://graph.lapis.localhost:"+proxy.Port())}
	p.must(p.do("GET", "https://graph.lapis.localhost:"+proxy.Port()+"/v1.0/servicePrincipals", header, nil), 200)

	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {p.info.ClientID}, "client_secret": {p.info.ClientSecret},
		"scope": {"https://management.elsewhere.localhost/.default"}}
	a = p.do("POST", "https://login.microsoftonline.com/"+p.info.TenantID+"/oauth2/v2.0/token",
		map[string]string{"Content-Type": "application/x-www-form-urlencoded"}, []byte(form.Encode()))
	if a.status != 400 {
		t.Errorf("a name of nobody's: %d %s", a.status, a.text)
	}
}
