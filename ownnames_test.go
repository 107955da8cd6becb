package lapis_test

import (
	"encoding/json"
	"net/url"
	"strings"
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

// TestOwnNamesLeadToAccountsAndEndpoints: whoever asks Resource Manager by the
// platform's name gets addresses that need no proxy, and may name them so.
func TestOwnNamesLeadToAccountsAndEndpoints(t *testing.T) {
	p := start(t, t.TempDir())
	proxy, err := url.Parse(p.info.Proxy)
	if err != nil {
		t.Fatal(err)
	}
	suffix := "lapis.localhost:" + proxy.Port()
	header := map[string]string{"Authorization": "Bearer " + p.owner("https://management.azure.com"), "Content-Type": "application/json"}
	own := func(method, path string, body any) answer {
		data, err := json.Marshal(body)
		if err != nil || body == nil {
			data = nil
		}
		return p.do(method, "https://management."+suffix+path+"?api-version="+mlVersion, header, data)
	}
	p.createEndpoint("named", nil)
	if uri := p.must(own("GET", p.endpoint("named"), nil), 200).str("properties.scoringUri"); uri != "https://named.local.inference.ml."+suffix+"/score" {
		t.Errorf("scoringUri %q", uri)
	}
	if uri := p.must(p.arm("GET", p.endpoint("named"), mlVersion, nil), 200).str("properties.scoringUri"); uri != "https://named.local.inference.ml.azure.com/score" {
		t.Errorf("scoringUri by Azure's name %q", uri)
	}
	version := p.workspace() + "/codes/c/versions/1"
	uri := p.must(own("POST", version+"/startPendingUpload", object{}), 200).str("blobReferenceForConsumption.blobUri")
	if !strings.Contains(uri, ".blob.core."+suffix+"/") {
		t.Fatalf("blobUri %q", uri)
	}
	p.must(own("PUT", version, object{"properties": object{"codeUri": uri + "/src"}}), 201)
	kept := p.must(p.arm("GET", version, mlVersion, nil), 200).str("properties.codeUri")
	if strings.Contains(kept, "localhost") || !strings.Contains(kept, ".blob.core.windows.net/") {
		t.Errorf("kept as %q", kept)
	}
	if shown := p.must(own("GET", version, nil), 200).str("properties.codeUri"); shown != uri+"/src" {
		t.Errorf("shown as %q, not as it was given, %q", shown, uri)
	}
	if a := own("PUT", version, "no object"); a.status != 400 {
		t.Errorf("a bad body: %d %s", a.status, a.text)
	}
}
