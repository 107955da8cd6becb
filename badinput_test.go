package lapis_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"testing"
)

// with copies an object and sets a dotted path in the copy; nil takes it away.
func with(o object, path string, value any) object {
	next := maps.Clone(o)
	name, rest, deeper := strings.Cut(path, ".")
	switch inner, isObject := next[name].(object); {
	case deeper && isObject:
		next[name] = with(inner, rest, value)
	case deeper:
		next[name] = with(object{}, rest, value)
	case value == nil:
		delete(next, name)
	default:
		next[name] = value
	}
	return next
}

// What is wrong in a body, per type: a path and a value that the type does not take.
func TestBadInputIsRefusedAndNothingStored(t *testing.T) {
	p := start(t, t.TempDir())
	ws := p.workspace()
	code := p.upload("codes", "good", "onlinescoring", map[string]string{"score.py": echoScript})
	environment := p.environment()
	p.createEndpoint("home", nil)
	other := "/subscriptions/00000000-0000-4000-8000-000000000000/resourceGroups/g/providers/"
	account := p.must(p.arm("GET", ws, mlVersion, nil), 200).json["properties"].(object)
	long := strings.Repeat("x", 300)
	blob := p.must(p.arm("GET", code, mlVersion, nil), 200).str("properties.codeUri")

	type wrong struct {
		path  string
		value any
	}
	anything := []wrong{
		{"location", 7}, {"tags", "x"}, {"tags", object{"a": 1}}, {"properties", []any{}}, {"properties", "x"}, {"properties", 7},
	}
	types := []struct {
		path, collection, version string
		good                      object
		wrong                     []wrong
	}{
		{ws + "/onlineEndpoints", "bad-ep", mlVersion, object{"location": p.info.Location, "properties": object{"authMode": "Key"}}, []wrong{
			{"location", nil}, {"properties.authMode", "Password"}, {"properties.authMode", 7}, {"properties.traffic", "all"},
			{"properties.traffic", object{"blue": 100}}, {"properties.traffic", object{"blue": 1.5}}, {"properties.traffic", object{"blue": 1 << 62}},
			{"properties.mirrorTraffic", object{"blue": 10}}, {"properties.keys", "secret"}, {"properties.keys", object{"primaryKey": 1}},
			{"properties.keys", object{"primaryKey": long}}, {"properties.keys", object{"secondaryKey": "a b"}}, {"properties.properties", object{"a": object{}}},
			{"properties.description", 7},
			{"properties.publicNetworkAccess", "Sometimes"}, {"identity", "SystemAssigned"}, {"identity.type", "Own"}, {"identity.type", 7},
			{"identity", object{"type": "UserAssigned"}}, {"identity", object{"type": "UserAssigned", "userAssignedIdentities": object{"x": object{}}}},
			{"identity", object{"type": "UserAssigned", "userAssignedIdentities": []any{"x"}}}, {"kind", 7},
			{"identity", object{"type": "SystemAssigned", "userAssignedIdentities": object{p.group() + "/providers/Microsoft.ManagedIdentity/userAssignedIdentities/n": object{}}}},
			{"identity", object{"type": "UserAssigned", "userAssignedIdentities": object{p.group() + "/providers/Microsoft.ManagedIdentity/userAssignedIdentities/none": object{}}}},
			{"identity", object{"type": "UserAssigned", "userAssignedIdentities": object{other + "Microsoft.ManagedIdentity/userAssignedIdentities/n": object{}}}},
		}},
		{ws + "/onlineEndpoints/home/deployments", "bad", mlVersion, p.deploymentBody(code, environment, nil), []wrong{
			{"location", nil}, {"properties.endpointComputeType", "Cloud"}, {"properties.codeConfiguration", "score.py"}, {"properties.codeConfiguration.codeId", nil},
			{"properties.codeConfiguration.codeId", other + "Microsoft.MachineLearningServices/workspaces/w/codes/c/versions/1"},
			{"properties.codeConfiguration.codeId", environment}, {"properties.codeConfiguration.scoringScript", "/etc/passwd"}, {"properties.codeConfiguration.scoringScript", "a\x00.py"},
			{"properties.environmentId", nil}, {"properties.environmentId", 7}, {"properties.environmentId", "azureml:none:1"}, {"properties.model", "azureml:none:1"},
			{"properties.instanceType", nil}, {"properties.instanceType", 4}, {"properties.instanceType", long}, {"properties.environmentVariables", object{"A": 1}}, {"properties.environmentVariables", object{"A=B": "1"}},
			{"properties.environmentVariables", object{"A": "x\x00y"}}, {"properties.environmentVariables", object{"A": strings.Repeat("x", 1<<20)}},
			{"properties.appInsightsEnabled", "yes"}, {"properties.requestSettings", 5}, {"properties.requestSettings.maxConcurrentRequestsPerInstance", -1},
			{"properties.requestSettings.maxConcurrentRequestsPerInstance", 1 << 40}, {"properties.requestSettings.requestTimeout", 5000}, {"properties.requestSettings.requestTimeout", "PT0S"},
			{"properties.requestSettings.requestTimeout", "P99999999999999999999D"}, {"properties.livenessProbe.period", "ten"}, {"properties.livenessProbe.failureThreshold", -3},
			{"properties.readinessProbe", []any{}}, {"properties.livenessProbe.period", "PT0S"}, {"properties.scaleSettings.scaleType", "Magic"}, {"properties.egressPublicNetworkAccess", "maybe"},
			{"sku", "Default"}, {"sku", object{"capacity": "1"}}, {"sku", object{"capacity": -1}}, {"sku", object{"capacity": 100}}, {"sku", object{"name": 7}},
		}},
		{ws + "/codes", "bad/versions/1", mlVersion, object{"properties": object{"codeUri": blob}}, []wrong{
			{"properties", nil}, {"properties.codeUri", nil}, {"properties.codeUri", 7}, {"properties.codeUri", "file:///etc"}, {"properties.codeUri", "::"}, {"properties.isArchived", "yes"},
			{"properties.codeUri", "https://evil.example/c/p"}, {"properties.codeUri", "azureml://datastores/none/paths/x"}, {"properties.tags", 7}, {"properties.properties", 7}, {"properties.description", 7},
		}},
		{ws + "/models", "bad/versions/1", mlVersion, object{"properties": object{"modelUri": blob}}, []wrong{
			{"properties.modelUri", nil}, {"properties.modelUri", ""}, {"properties.modelType", "ONNX"}, {"properties.modelType", 7}, {"properties.tags", object{"a": []any{}}}, {"properties.flavors", "x"},
		}},
		{ws + "/environments", "bad/versions/1", mlVersion, object{"properties": object{"image": "i"}}, []wrong{
			{"properties.image", nil}, {"properties.image", 7}, {"properties.condaFile", object{}}, {"properties.isAnonymous", 1}, {"properties.osType", 7},
		}},
		{ws + "/data", "bad/versions/1", mlVersion, object{"properties": object{"dataUri": "https://example.org/a", "dataType": "uri_file"}}, []wrong{
			{"properties.dataUri", nil}, {"properties.dataUri", "no address"}, {"properties.dataType", "csv"}, {"properties.dataType", 7},
		}},
		{p.group() + "/providers/Microsoft.MachineLearningServices/workspaces", "badws", mlVersion, object{"location": p.info.Location, "properties": object{"storageAccount": account["storageAccount"], "containerRegistry": account["containerRegistry"]}}, []wrong{
			{"location", nil}, {"properties", nil}, {"properties.storageAccount", "mine"}, {"properties.storageAccount", 7}, {"properties.storageAccount", account["containerRegistry"]},
			{"properties.storageAccount", other + "Microsoft.Storage/storageAccounts/dataone"}, {"properties.storageAccount", fmt.Sprint(account["storageAccount"]) + "none"}, {"properties.containerRegistry", "mine"},
			{"properties.systemDatastoresAuthMode", "magic"}, {"properties.friendlyName", 7}, {"identity", 7},
		}},
	}
	for _, typ := range types {
		item := typ.path + "/" + typ.collection
		refused := func(name string, a answer) {
			t.Helper()
			if a.status < 400 || a.status >= 500 || a.str("error.code") == "" || a.str("error.message") == "" {
				t.Errorf("%s: %s: %d %.300s", typ.collection, name, a.status, a.text)
				if d := p.arm("DELETE", item, typ.version, nil); d.status == 202 {
					p.wait(d)
				}
			}
			if left := p.arm("GET", item, typ.version, nil); left.status != 404 && a.status >= 400 {
				t.Errorf("%s: %s: what was refused is stored: %.300s", typ.collection, name, left.text)
			}
		}
		for _, w := range append(anything, typ.wrong...) {
			shown, _ := json.Marshal(w.value)
			refused(fmt.Sprintf("%s = %.60s", w.path, shown), p.arm("PUT", item, typ.version, with(typ.good, w.path, w.value)))
		}
		for _, raw := range []string{"", "null", "[]", `"x"`, "7", "{", `{"properties":`, "\xff", `{"properties":{"a":1e999}}`, strings.Repeat(`{"properties":`, 20_000) + strings.Repeat("}", 20_000)} {
			refused(fmt.Sprintf("body %.30q", raw), p.raw("PUT", item+"?api-version="+typ.version, raw))
		}
		big, _ := json.Marshal(with(typ.good, "properties.description", strings.Repeat("x", 5<<20)))
		refused("5 MiB", p.raw("PUT", item+"?api-version="+typ.version, string(big)))
		refused("no api-version", p.raw("PUT", item, "{}"))
		refused("odd api-version", p.arm("PUT", item, "2001-01-01", typ.good))
		refused("other subscription", p.arm("PUT", strings.Replace(item, p.info.SubscriptionID, "00000000-0000-4000-8000-000000000000", 1), typ.version, typ.good))
		refused("other group", p.arm("PUT", strings.Replace(item, "/"+p.info.ResourceGroup+"/", "/nowhere/", 1), typ.version, typ.good))
		for _, name := range []string{"%20", "a%2Fb", "..", "-", "a%00", strings.Repeat("n", 400), "ü", "%F0%9F%92%A3", "a'b", "a%3Fb"} {
			first, rest, _ := strings.Cut(typ.collection, "/")
			path := typ.path + "/" + name
			if rest != "" {
				path += "/" + rest
			}
			a := p.arm("PUT", path, typ.version, typ.good)
			if a.status < 400 || a.status >= 500 {
				t.Errorf("the name %s instead of %s: %d %.200s", name, first, a.status, a.text)
			}
		}
		// What all of this was a change of is good.
		p.must(p.arm("PUT", item, typ.version, typ.good), 200, 201)
	}
}
