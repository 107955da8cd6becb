package lapis_test

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
)

const (
	storageVersion = "2023-01-01"
	groupVersion   = "2022-09-01"
)

// raw sends a request to Resource Manager as the owner, with the query as given.
func (p *platform) raw(method, pathAndQuery, body string, more ...string) answer {
	p.t.Helper()
	return p.do(method, armHost+pathAndQuery, bearerHeader(p.owner(armHost), append([]string{"Content-Type", "application/json"}, more...)...), []byte(body))
}

func (p *platform) accountPath(name string) string {
	return p.group() + "/providers/Microsoft.Storage/storageAccounts/" + name
}

func TestResourceManagerRefusesBadRequestsAsAzureDoes(t *testing.T) {
	p := start(t, t.TempDir())
	p.storage("rulesone")
	sub, group, one := "/subscriptions/"+p.info.SubscriptionID, p.group(), p.accountPath("rulesone")
	version, ofGroups := "?api-version="+storageVersion, "?api-version="+groupVersion
	account := func(change string) string {
		return `{"location":"` + p.info.Location + `","kind":"StorageV2","sku":{"name":"Standard_LRS"}` + change + `}`
	}
	for _, c := range []struct {
		name, method, path, body string
		status                   int
		code                     string
	}{
		{"no api-version", "GET", one, "", 400, "MissingApiVersionParameter"},
		{"no api-version at a subscription", "GET", sub, "", 400, "MissingApiVersionParameter"},
		{"no api-version at the list of groups", "GET", sub + "/resourceGroups", "", 400, "MissingApiVersionParameter"},
		{"no api-version at roles", "GET", sub + "/providers/Microsoft.Authorization/roleDefinitions", "", 400, "MissingApiVersionParameter"},
		{"unknown api-version", "GET", one + "?api-version=2019-01-17", "", 400, "NoRegisteredProviderFound"},
		{"api-version that is no date", "GET", one + "?api-version=latest", "", 400, "NoRegisteredProviderFound"},
		{"newer api-version", "GET", one + "?api-version=2031-01-01", "", 200, ""},
		{"newer preview", "GET", one + "?api-version=2031-01-01-preview", "", 200, ""},
		{"api-version in another case", "GET", one + "?API-Version=" + storageVersion, "", 200, ""},
		{"double slashes", "GET", strings.ReplaceAll(one, "/", "//") + version, "", 200, ""},
		{"trailing slash", "GET", one + "/" + version, "", 200, ""},
		{"method", "POST", one + version, "{}", 405, "MethodNotAllowed"},
		{"unknown namespace", "GET", group + "/providers/Microsoft.Nothing/things/x" + version, "", 404, "InvalidResourceNamespace"},
		{"unknown type", "GET", group + "/providers/Microsoft.Storage/things/x" + version, "", 404, "InvalidResourceType"},
		{"unknown action", "POST", one + "/doSomething" + version, "", 404, "NotFound"},
		{"no resource", "GET", group + "/providers/Microsoft.Storage/storageAccounts/nothere" + version, "", 404, "ResourceNotFound"},
		{"no group", "GET", sub + "/resourceGroups/nothere" + ofGroups, "", 404, "ResourceGroupNotFound"},
		{"list in no group", "GET", sub + "/resourceGroups/nothere/providers/Microsoft.Storage/storageAccounts" + version, "", 404, "ResourceGroupNotFound"},
		{"PUT into no group", "PUT", sub + "/resourceGroups/nothere/providers/Microsoft.Storage/storageAccounts/abc" + version, account(""), 404, "ResourceGroupNotFound"},
		{"PUT below no parent", "PUT", p.workspace() + "x/onlineEndpoints/abc?api-version=" + mlVersion, account(""), 404, "ParentResourceNotFound"},
		{"delete what is not there", "DELETE", p.accountPath("nothere") + version, "", 204, ""},
		{"delete a group that is not there", "DELETE", sub + "/resourceGroups/nothere" + ofGroups, "", 404, "ResourceGroupNotFound"},
		{"HEAD of a group", "HEAD", group + ofGroups, "", 204, ""},
		{"HEAD of no group", "HEAD", sub + "/resourceGroups/nothere" + ofGroups, "", 404, ""},
		{"no body", "PUT", one + version, "", 400, "InvalidRequestContent"},
		{"not JSON", "PUT", one + version, "{", 400, "InvalidRequestContent"},
		{"JSON and more", "PUT", one + version, "{}{}", 400, "InvalidRequestContent"},
		{"a list", "PUT", one + version, "[]", 400, "InvalidRequestContent"},
		{"a text", "PATCH", one + version, `"x"`, 400, "InvalidRequestContent"},
		{"location is a number", "PUT", one + version, `{"location":1}`, 400, "InvalidRequestContent"},
		{"tags are a list", "PATCH", one + version, `{"tags":["a"]}`, 400, "InvalidRequestContent"},
		{"a tag is a number", "PATCH", one + version, `{"tags":{"a":1}}`, 400, "InvalidRequestContent"},
		{"properties are a list", "PATCH", one + version, `{"properties":[]}`, 400, "InvalidRequestContent"},
		{"a property of the wrong type", "PATCH", one + version, `{"properties":{"allowSharedKeyAccess":"perhaps"}}`, 400, "InvalidRequestContent"},
		{"sku is a text", "PATCH", one + version, `{"sku":"Standard_LRS"}`, 400, "InvalidRequestContent"},
		{"unknown sku", "PATCH", one + version, `{"sku":{"name":"Standard_XYZ"}}`, 400, "InvalidValuesForRequestParameters"},
		{"unknown kind", "PUT", p.accountPath("rulestwo") + version, strings.Replace(account(""), "StorageV2", "StorageV9", 1), 400, "InvalidValuesForRequestParameters"},
		{"no location", "PUT", p.accountPath("rulestwo") + version, `{"kind":"StorageV2","sku":{"name":"Standard_LRS"}}`, 400, "LocationRequired"},
		{"bad name", "PUT", p.accountPath("Rules_Two") + version, account(""), 400, "AccountNameInvalid"},
		{"too large", "PUT", one + version, account(`,"tags":{"a":"` + strings.Repeat("x", 4<<20) + `"}`), 413, "RequestContentTooLarge"},
		{"PATCH of nothing", "PATCH", p.accountPath("nothere") + version, `{"tags":{}}`, 404, "ResourceNotFound"},
		{"another location", "PUT", one + version, strings.Replace(account(""), p.info.Location, "elsewhere", 1), 409, "InvalidResourceLocation"},
		{"a group's other location", "PUT", group + ofGroups, `{"location":"elsewhere"}`, 409, "InvalidResourceGroupLocation"},
		{"same location in another spelling", "PUT", one + version, strings.Replace(account(""), p.info.Location, strings.ToUpper(p.info.Location), 1), 200, ""},
		{"$top that is no number", "GET", sub + "/resourceGroups" + ofGroups + "&$top=x", "", 400, "InvalidTopParameter"},
		{"$top of zero", "GET", sub + "/resourceGroups" + ofGroups + "&$top=0", "", 400, "InvalidTopParameter"},
		{"bad filter", "GET", sub + "/resources" + ofGroups + "&$filter=" + url.QueryEscape("color eq 'red'"), "", 400, "InvalidFilterInQueryString"},
		{"name that is taken", "POST", sub + "/providers/Microsoft.Storage/checkNameAvailability" + version, `{"name":"rulesone"}`, 200, ""},
		{"unknown key", "POST", one + "/regenerateKey" + version, `{"keyName":"key3"}`, 400, "InvalidValuesForRequestParameters"},
	} {
		a := p.raw(c.method, c.path, c.body)
		if a.status != c.status || a.str("error.code") != c.code {
			t.Errorf("%s: %d %s, want %d %s: %.300s", c.name, a.status, a.str("error.code"), c.status, c.code, a.text)
		}
		if c.code != "" && a.str("error.message") == "" {
			t.Errorf("%s: no message: %s", c.name, a.text)
		}
	}
	if a := p.raw("GET", one+version, ""); a.str("name") != "rulesone" || a.str("location") != p.info.Location {
		t.Errorf("after all that: %s", a.text)
	}
}

// What a caller writes comes back: names in the case of the first PUT, and
// properties that no rule knows.
func TestNamesAndUnknownPropertiesAreKept(t *testing.T) {
	p := start(t, t.TempDir())
	group := "/subscriptions/" + p.info.SubscriptionID + "/resourceGroups/MixedCase"
	p.must(p.arm("PUT", group, groupVersion, object{"location": p.info.Location, "tags": object{"Owner": "Me"}}), 201)
	a := p.must(p.arm("GET", strings.ToLower(group), groupVersion, nil), 200)
	if a.str("name") != "MixedCase" || a.str("id") != group || a.str("tags.Owner") != "Me" {
		t.Errorf("echo: %s", a.text)
	}
	p.must(p.arm("PUT", strings.ToUpper(group), groupVersion, object{"location": p.info.Location}), 200)
	all := p.must(p.arm("GET", "/subscriptions/"+p.info.SubscriptionID+"/resourceGroups", groupVersion, nil), 200)
	if n := strings.Count(strings.ToLower(all.text), `"name":"mixedcase"`); n != 1 {
		t.Errorf("%d groups of that name: %s", n, all.text)
	}

	id := p.accountPath("keepall")
	body := object{"location": p.info.Location, "kind": "StorageV2", "sku": object{"name": "Standard_LRS"}, "tags": object{"a": "1", "b": "2"},
		"properties": object{"future": object{"deep": []any{1.0, "two", nil}}, "minimumTlsVersion": "TLS1_2"}}
	p.must(p.arm("PUT", id, storageVersion, body), 200)
	p.must(p.arm("PATCH", id, storageVersion, object{"properties": object{"future": object{"more": true}, "minimumTlsVersion": nil}, "tags": object{"a": "3"}}), 200)
	a = p.must(p.arm("GET", strings.ToUpper(p.group())+"/PROVIDERS/microsoft.storage/STORAGEACCOUNTS/keepall", storageVersion, nil), 200)
	if fmt.Sprint(a.path("properties.future.deep")) != "[1 two <nil>]" || a.path("properties.future.more") != true {
		t.Errorf("unknown properties: %s", a.text)
	}
	if a.path("properties.minimumTlsVersion") != nil || a.str("tags.a") != "3" {
		t.Errorf("patched: %s", a.text)
	}
	if a.str("id") != id || a.str("type") != "Microsoft.Storage/storageAccounts" || a.str("properties.provisioningState") != "Succeeded" {
		t.Errorf("envelope: %s", a.text)
	}
	if strings.Contains(a.text, "sealed") || strings.Contains(a.text, "private") {
		t.Errorf("the record's private part shows: %s", a.text)
	}
}

func TestListsComeInPages(t *testing.T) {
	p := start(t, t.TempDir())
	want := map[string]bool{p.info.ResourceGroup: true}
	for i := range 6 {
		name := fmt.Sprintf("page%d", i)
		want[name] = true
		p.must(p.arm("PUT", "/subscriptions/"+p.info.SubscriptionID+"/resourceGroups/"+name, groupVersion, object{"location": p.info.Location}), 201)
	}
	seen, pages := map[string]bool{}, 0
	next := armHost + "/subscriptions/" + p.info.SubscriptionID + "/resourceGroups?api-version=" + groupVersion + "&$top=3"
	for next != "" && pages < 10 {
		a := p.must(p.do("GET", next, bearerHeader(p.owner(armHost)), nil), 200)
		values, _ := a.json["value"].([]any)
		if len(values) == 0 || len(values) > 3 {
			t.Fatalf("a page of %d: %s", len(values), a.text)
		}
		for _, v := range values {
			name := fmt.Sprint(v.(map[string]any)["name"])
			if seen[name] {
				t.Errorf("%s comes twice", name)
			}
			seen[name] = true
		}
		next, pages = a.str("nextLink"), pages+1
	}
	if len(seen) != len(want) || pages != 3 {
		t.Errorf("%d pages with %v, want %v", pages, seen, want)
	}
	a := p.must(p.arm("GET", "/subscriptions/"+p.info.SubscriptionID+"/resources?$filter="+url.QueryEscape("resourceType eq 'Microsoft.MachineLearningServices/workspaces'"), groupVersion, nil), 200)
	if values, _ := a.json["value"].([]any); len(values) != 1 {
		t.Errorf("filtered: %s", a.text)
	}
}

func TestEtagsGuardAgainstLostUpdates(t *testing.T) {
	p := start(t, t.TempDir())
	id := p.workspace() + "/environments/tagged/versions/1?api-version=" + mlVersion
	body := `{"properties":{"image":"mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04:latest","description":"%d"}}`
	if a := p.raw("PUT", id, fmt.Sprintf(body, 0), "If-Match", "*"); a.status != 412 {
		t.Errorf("If-Match of what is not there: %d", a.status)
	}
	first := p.must(p.raw("PUT", id, fmt.Sprintf(body, 1), "If-None-Match", "*"), 201, 200).header.Get("ETag")
	if first == "" {
		t.Fatal("no etag")
	}
	if a := p.raw("PUT", id, fmt.Sprintf(body, 2), "If-None-Match", "*"); a.status != 412 || a.str("error.code") != "PreconditionFailed" {
		t.Errorf("If-None-Match: %d %s", a.status, a.text)
	}
	second := p.must(p.raw("PUT", id, fmt.Sprintf(body, 3), "If-Match", first), 200).header.Get("ETag")
	if a := p.raw("PUT", id, fmt.Sprintf(body, 4), "If-Match", first); a.status != 412 || second == first {
		t.Errorf("a stale etag: %d %s", a.status, a.text)
	}
	if a := p.raw("GET", id, ""); a.str("properties.description") != "3" {
		t.Errorf("now: %s", a.text)
	}
}

func TestOperationsAreThereAfterARestart(t *testing.T) {
	dir := t.TempDir()
	p := start(t, dir)
	created := p.must(p.arm("PUT", p.workspace()+"/onlineEndpoints/lasting", mlVersion, object{"location": p.info.Location, "properties": object{"authMode": "Key"}}), 201)
	if op := p.wait(created); op.str("status") != "Succeeded" {
		t.Fatal(op.text)
	}
	broken := p.wait(p.must(p.arm("PUT", p.workspace()+"/onlineEndpoints/lasting/deployments/blue", mlVersion,
		p.deploymentBody(p.upload("codes", "c", "src", map[string]string{"other.py": ""}), p.environment(), nil)), 201))
	if broken.str("status") != "Failed" || broken.str("error.code") != "BadArgument" {
		t.Fatal(broken.text)
	}
	p.stop()
	p2 := start(t, dir)
	if p2.info.Proxy != p.info.Proxy || p2.info.ClientSecret != p.info.ClientSecret || p2.info.TenantID != p.info.TenantID {
		t.Errorf("the client's settings changed: %v, %v", p.info.Proxy, p2.info.Proxy)
	}
	header := bearerHeader(p.owner(armHost)) // the token of before
	if a := p2.do("GET", created.header.Get("Azure-AsyncOperation"), header, nil); a.str("status") != "Succeeded" || a.str("endTime") == "" {
		t.Errorf("after a restart: %d %s", a.status, a.text)
	}
	if a := p2.do("GET", created.header.Get("Location"), header, nil); a.str("name") != "lasting" {
		t.Errorf("its result: %d %s", a.status, a.text)
	}
	a := p2.do("GET", armHost+broken.str("id")+"?api-version="+mlVersion, header, nil)
	if a.str("status") != "Failed" || a.str("error.code") != broken.str("error.code") || a.str("error.message") != broken.str("error.message") {
		t.Errorf("the failed one: %d %s", a.status, a.text)
	}
	if a := p2.arm("GET", p2.workspace()+"/onlineEndpoints/lasting/deployments/blue", mlVersion, nil); a.str("properties.provisioningState") != "Failed" {
		t.Errorf("its target: %s", a.text)
	}
}
