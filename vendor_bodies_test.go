package lapis_test

import (
	"strings"
)

// specimens makes one of each thing that a plane answers, in the states that it
// can have, and returns how each is asked for.
func (p *platform) specimens() []specimen {
	p.t.Helper()
	var all []specimen
	for _, plane := range []func() []specimen{
		p.endpointSpecimens, p.assetSpecimens, p.workspaceSpecimens, p.storageSpecimens, p.identitySpecimens, p.roleSpecimens, p.registrySpecimens, p.companionSpecimens,
		p.resourceSpecimens, p.deploymentSpecimens, p.errorSpecimens,
	} {
		all = append(all, plane()...)
	}
	return all
}

// get asks anew in each api-version.
func (p *platform) get(plane, name, model, path string, lists ...string) specimen {
	return p.asking("GET", plane, name, model, path, nil, lists...)
}

func (p *platform) asking(method, plane, name, model, path string, body any, lists ...string) specimen {
	return specimen{plane: plane, name: name, model: model, lists: lists, ask: func(version string) answer {
		p.t.Helper()
		return p.must(p.arm(method, path, version, body), 200, 201)
	}}
}

// kept is an answer that cannot be had twice.
func (p *platform) kept(plane, name, model string, a answer, status ...int) specimen {
	p.t.Helper()
	p.must(a, status...)
	return specimen{plane: plane, name: name, model: model, ask: func(string) answer { return a }}
}

// ended waits for the operation of an answer, if it has one.
func (p *platform) ended(a answer) {
	p.t.Helper()
	if a.header.Get("Azure-AsyncOperation") != "" {
		p.settle(a)
	}
}

func (p *platform) endpointSpecimens() []specimen {
	const (
		endpoint, deployment = "OnlineEndpoint", "OnlineDeployment"
		endpoints            = "OnlineEndpointTrackedResourceArmPaginatedResult"
		deployments          = "OnlineDeploymentTrackedResourceArmPaginatedResult"
	)
	fresh := p.kept("ml", "endpoint being created", endpoint, p.putEndpoint("vendor", object{"authMode": "Key", "traffic": object{}, "properties": object{}}), 201)
	p.settle(fresh.ask(""))
	p.echoing("vendor", "blue", "green")
	updated := p.kept("ml", "endpoint being updated", endpoint,
		p.putEndpoint("vendor", object{"authMode": "Key", "traffic": object{"blue": 100}, "mirrorTraffic": object{"green": 10}, "description": "d", "publicNetworkAccess": "Enabled"}), 200)
	p.settle(updated.ask(""))
	uai := p.group() + "/providers/Microsoft.ManagedIdentity/userAssignedIdentities/vendor"
	p.must(p.arm("PUT", uai, "2023-01-31", object{"location": p.info.Location}), 201)
	user := p.kept("ml", "endpoint with a user-assigned identity, being created", endpoint, p.arm("PUT", p.endpoint("vendor-user"), mlVersion, object{
		"location": p.info.Location, "tags": object{"a": "b"}, "kind": "Managed", "properties": object{"authMode": "AMLToken", "properties": object{"mine": "x"}},
		"identity": object{"type": "UserAssigned", "userAssignedIdentities": object{uai: object{}}},
	}), 201)
	p.settle(user.ask(""))
	p.settle(p.putEndpoint("vendor-aad", object{"authMode": "AADToken"}))
	blue, scaled, broken := p.endpoint("vendor")+"/deployments/blue", p.endpoint("vendor")+"/deployments/scaled", p.endpoint("vendor")+"/deployments/broken"

	body := p.deploymentBody(p.workspace()+"/codes/echo/versions/1", p.environment(), map[string]string{"NAME": "scaled"})
	body["tags"], body["sku"] = object{"a": "b"}, object{"name": "Default", "tier": "Standard", "capacity": 2}
	properties := body["properties"].(object)
	properties["description"], properties["properties"], properties["appInsightsEnabled"] = "d", object{"mine": "x"}, true
	properties["model"], properties["modelMountPath"] = p.upload("models", "mounted", "model", map[string]string{"x": "y"}), "/var/m"
	properties["egressPublicNetworkAccess"], properties["scaleSettings"] = "Enabled", object{"scaleType": "Default"}
	properties["requestSettings"] = object{"maxConcurrentRequestsPerInstance": 2, "requestTimeout": "PT10S", "maxQueueWait": "PT0.5S"}
	probe := object{"initialDelay": "PT1S", "period": "PT1S", "timeout": "PT2S", "failureThreshold": 30, "successThreshold": 1}
	properties["livenessProbe"], properties["readinessProbe"] = probe, probe
	making := p.kept("ml", "deployment being created", deployment, p.arm("PUT", scaled, mlVersion, body), 201)
	p.settle(making.ask(""))
	body["tags"] = object{"a": "c"}
	again := p.kept("ml", "deployment being updated", deployment, p.arm("PUT", scaled, mlVersion, body), 200)
	p.settle(again.ask(""))
	bad := p.upload("codes", "bad", "onlinescoring", map[string]string{"score.py": "def init(): raise ValueError('no')\ndef run(x): return x\n"})
	if op := p.deploy("vendor", "broken", p.deploymentBody(bad, p.environment(), nil)); op.str("status") != "Failed" {
		p.t.Fatalf("a broken deployment: %s", op.text)
	}
	patched := p.arm("PATCH", p.endpoint("vendor-aad"), mlVersion, object{"tags": object{"patched": "yes"}})
	p.settle(patched)

	all := []specimen{
		fresh, updated, user, making, again, p.kept("ml", "endpoint being patched", endpoint, patched, 200, 202),
		p.get("ml", "endpoint", endpoint, p.endpoint("vendor")),
		p.get("ml", "endpoint with a user-assigned identity", endpoint, p.endpoint("vendor-user")),
		p.get("ml", "endpoint for Entra's tokens", endpoint, p.endpoint("vendor-aad")),
		p.get("ml", "endpoints", endpoint, p.workspace()+"/onlineEndpoints", endpoints),
		p.get("ml", "deployment", deployment, blue), p.get("ml", "deployment with all settings", deployment, scaled), p.get("ml", "failed deployment", deployment, broken),
		p.get("ml", "deployments", deployment, p.endpoint("vendor")+"/deployments", deployments),
		p.asking("POST", "ml", "keys of an endpoint", "EndpointAuthKeys", p.endpoint("vendor")+"/listKeys", nil),
		p.asking("POST", "ml", "token of an endpoint", "EndpointAuthToken", p.endpoint("vendor-user")+"/token", nil),
	}
	for _, kind := range []string{"InferenceServer", "StorageInitializer"} {
		all = append(all, p.asking("POST", "ml", "logs of "+kind, "DeploymentLogs", blue+"/getLogs", object{"tail": 10, "containerType": kind}))
	}
	return all
}

func (p *platform) assetSpecimens() []specimen {
	ws := p.workspace()
	data := func(name, kind string) {
		p.must(p.arm("PUT", ws+"/data/"+name+"/versions/1", mlVersion, object{"properties": object{
			"dataUri": "https://example.org/a", "dataType": kind, "description": "d", "tags": object{"a": "b"}, "properties": object{"c": "d"}}}), 201)
	}
	data("file", "uri_file")
	data("folder", "uri_folder")
	data("table", "mltable")
	files := p.upload("models", "files", "model", map[string]string{"MLmodel": "flavors:\n  python_function:\n    loader_module: x\n"})
	flow := p.must(p.arm("GET", files, mlVersion, nil), 200).str("properties.modelUri")
	all := []specimen{
		p.kept("ml", "named environment", "EnvironmentVersion", p.arm("PUT", ws+"/environments/named/versions/7", mlVersion, object{"properties": object{
			"image": "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04:latest", "condaFile": "name: x\ndependencies: [python]\n", "osType": "Linux",
			"description": "d", "tags": object{"a": "b"}, "isAnonymous": false, "autoRebuild": "Disabled",
			"inferenceConfig": object{"livenessRoute": object{"path": "/l", "port": 1}, "readinessRoute": object{"path": "/r", "port": 1}, "scoringRoute": object{"path": "/s", "port": 1}},
		}}), 201),
		p.kept("ml", "archived environment", "EnvironmentVersion", p.arm("PUT", ws+"/environments/archived/versions/1", mlVersion, object{"properties": object{
			"image": "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04:latest", "isArchived": true}}), 201),
		p.kept("ml", "MLflow model", "ModelVersion", p.arm("PUT", ws+"/models/flow/versions/1", mlVersion, object{"properties": object{
			"modelUri":  flow,
			"modelType": "mlflow_model", "flavors": object{"python_function": object{"data": object{"a": "b"}}}, "description": "d",
			"tags": object{"a": "b"}, "properties": object{"c": "d"}}}), 201),
		p.asking("POST", "ml", "pending upload", "PendingUploadResponseDto", ws+"/codes/new/versions/1/startPendingUpload", object{"pendingUploadType": "TemporaryBlobReference"}),
		p.asking("POST", "ml", "pending upload of a model", "PendingUploadResponseDto", ws+"/models/new/versions/1/startPendingUpload", object{"pendingUploadType": "TemporaryBlobReference"}),
	}
	for collection, v := range map[string]struct {
		model string
		names []string
	}{
		"codes": {"Code", []string{"echo", "bad"}}, "models": {"Model", []string{"mounted", "flow"}},
		"environments": {"Environment", []string{"bare", "named"}}, "data": {"Data", []string{"file", "folder", "table"}},
	} {
		version := v.model + "Version"
		if v.model == "Data" {
			version = "DataVersionBase"
		}
		for _, name := range v.names {
			item := ws + "/" + collection + "/" + name
			number := "1"
			if name == "named" {
				number = "7"
			}
			all = append(all,
				p.get("ml", version+" "+name, version, item+"/versions/"+number),
				p.get("ml", "versions of "+v.model+" "+name, version, item+"/versions", version+"ResourceArmPaginatedResult"),
				p.get("ml", v.model+" "+name, v.model+"Container", item))
		}
		all = append(all, p.get("ml", collection, v.model+"Container", ws+"/"+collection, v.model+"ContainerResourceArmPaginatedResult"))
	}
	return all
}

func (p *platform) workspaceSpecimens() []specimen {
	ws, stores := p.workspace(), p.workspace()+"/datastores/"
	account := p.storage("vendorbox")
	key := p.must(p.arm("POST", account+"/listKeys", "2023-01-01", nil), 200).json["keys"].([]any)[0].(object)["value"].(string)
	store := func(name string, credentials object) specimen {
		body := blobDatastore("vendorbox", "box", credentials)
		body["properties"].(object)["description"], body["properties"].(object)["tags"] = "d", object{"a": "b"}
		return p.kept("ml", "datastore "+name+" as it is made", "Datastore", p.arm("PUT", stores+name, datastoreVersion, body), 201)
	}
	more := p.group() + "/providers/Microsoft.MachineLearningServices/workspaces/vendor"
	made := p.arm("PUT", more, "2024-10-01", object{"location": p.info.Location, "tags": object{"a": "b"}, "kind": "Default",
		"identity":   object{"type": "SystemAssigned"},
		"properties": object{"friendlyName": "f", "description": "d", "hbiWorkspace": false, "storageAccount": account, "publicNetworkAccess": "Enabled"}})
	p.ended(made)
	patched := p.arm("PATCH", more, "2024-10-01", object{"tags": object{"a": "c"}, "properties": object{"friendlyName": "g"}})
	p.must(patched, 200, 202)
	p.ended(patched)
	all := []specimen{
		p.kept("ml", "workspace being made", "Workspace", made, 200, 201, 202),
		store("withkey", object{"credentialsType": "AccountKey", "secrets": object{"secretsType": "AccountKey", "key": key}}),
		store("withtoken", object{"credentialsType": "Sas", "secrets": object{"secretsType": "Sas", "sasToken": "sv=2021-12-02&sr=c&sp=rl&sig=abcdefg%3D"}}),
		store("without", object{"credentialsType": "None"}),
		p.get("ml", "workspace", "Workspace", ws), p.get("ml", "workspace with all settings", "Workspace", more),
		p.get("ml", "workspaces", "Workspace", p.group()+"/providers/Microsoft.MachineLearningServices/workspaces", "WorkspaceListResult"),
		p.get("ml", "workspaces of the subscription", "Workspace", "/subscriptions/"+p.info.SubscriptionID+"/providers/Microsoft.MachineLearningServices/workspaces", "WorkspaceListResult"),
		p.asking("POST", "ml", "keys of a workspace", "ListWorkspaceKeysResult", ws+"/listKeys", nil),
		p.get("ml", "datastores", "Datastore", ws+"/datastores", "DatastoreResourceArmPaginatedResult"),
	}
	if patched.status == 200 {
		all = append(all, p.kept("ml", "patched workspace", "Workspace", patched, 200))
	}
	for _, name := range []string{"workspaceblobstore", "withkey", "withtoken", "without"} {
		all = append(all, p.get("ml", "datastore "+name, "Datastore", stores+name))
		if name == "without" {
			continue
		}
		all = append(all, p.asking("POST", "ml", "secrets of "+name, "DatastoreSecrets", stores+name+"/listSecrets", nil))
		if name != "withtoken" {
			all = append(all, p.asking("POST", "ml", "secrets of "+name+" that expire", "DatastoreSecrets", stores+name+"/listSecrets", object{"expirableSecret": true}))
		}
	}
	return all
}

func (p *platform) storageSpecimens() []specimen {
	accounts := p.group() + "/providers/Microsoft.Storage/storageAccounts"
	plain, full := accounts+"/vendorbox", accounts+"/vendorfull"
	made := p.arm("PUT", full, "2023-01-01", object{"location": p.info.Location, "kind": "StorageV2", "sku": object{"name": "Standard_RAGRS"}, "tags": object{"a": "b"},
		"properties": object{"accessTier": "Cool", "minimumTlsVersion": "TLS1_2", "allowBlobPublicAccess": false, "allowSharedKeyAccess": true, "supportsHttpsTrafficOnly": true,
			"publicNetworkAccess": "Enabled", "networkAcls": object{"bypass": "AzureServices", "defaultAction": "Allow", "ipRules": []any{}, "virtualNetworkRules": []any{}},
			"encryption": object{"keySource": "Microsoft.Storage", "services": object{"blob": object{"enabled": true, "keyType": "Account"}}}}})
	p.ended(made)
	box := p.kept("storage", "container as it is made", "BlobContainer", p.arm("PUT", full+"/blobServices/default/containers/meta", "2023-01-01", object{
		"properties": object{"metadata": object{"a": "b"}, "publicAccess": "None"}}), 201)
	all := []specimen{
		box,
		p.kept("storage", "patched account", "StorageAccount", p.arm("PATCH", full, "2023-01-01", object{"tags": object{"a": "c"}, "properties": object{"accessTier": "Hot"}}), 200),
		p.get("storage", "account", "StorageAccount", plain), p.get("storage", "account with all settings", "StorageAccount", full),
		p.get("storage", "accounts", "StorageAccount", accounts, "StorageAccountListResult"),
		p.get("storage", "accounts of the subscription", "StorageAccount", "/subscriptions/"+p.info.SubscriptionID+"/providers/Microsoft.Storage/storageAccounts", "StorageAccountListResult"),
		p.asking("POST", "storage", "keys of an account", "StorageAccountListKeysResult", plain+"/listKeys?$expand=kerb", nil),
		p.asking("POST", "storage", "new keys of an account", "StorageAccountListKeysResult", full+"/regenerateKey", object{"keyName": "key2"}),
		p.get("storage", "blob service", "BlobServiceProperties", plain+"/blobServices/default"),
		p.get("storage", "blob services", "BlobServiceProperties", plain+"/blobServices", "BlobServiceItems"),
		p.get("storage", "container", "BlobContainer", plain+"/blobServices/default/containers/box"),
		p.get("storage", "container with metadata", "BlobContainer", full+"/blobServices/default/containers/meta"),
		p.get("storage", "containers", "ListContainerItem", full+"/blobServices/default/containers", "ListContainerItems"),
	}
	for _, name := range []string{"vendorbox", "unheardof17", "BAD"} {
		all = append(all, p.asking("POST", "storage", "whether "+name+" is free", "CheckNameAvailabilityResult",
			"/subscriptions/"+p.info.SubscriptionID+"/providers/Microsoft.Storage/checkNameAvailability", object{"name": name, "type": "Microsoft.Storage/storageAccounts"}))
	}
	if made.status == 200 || made.status == 201 {
		all = append(all, p.kept("storage", "account as it is made", "StorageAccount", made, 200, 201))
	}
	return all
}

func (p *platform) identitySpecimens() []specimen {
	all := p.group() + "/providers/Microsoft.ManagedIdentity/userAssignedIdentities"
	tagged := all + "/vendor-tagged"
	const list = "UserAssignedIdentitiesListResult"
	return []specimen{
		p.kept("identities", "identity as it is made", "Identity", p.arm("PUT", tagged, "2023-01-31", object{"location": p.info.Location, "tags": object{"a": "b"}}), 201),
		p.kept("identities", "patched identity", "Identity", p.arm("PATCH", tagged, "2023-01-31", object{"tags": object{"a": "c"}}), 200),
		p.get("identities", "identity", "Identity", all+"/vendor"), p.get("identities", "identity with tags", "Identity", tagged),
		p.get("identities", "identities", "Identity", all, list),
		p.get("identities", "identities of the subscription", "Identity", "/subscriptions/"+p.info.SubscriptionID+"/providers/Microsoft.ManagedIdentity/userAssignedIdentities", list),
	}
}

func (p *platform) roleSpecimens() []specimen {
	account := p.group() + "/providers/Microsoft.Storage/storageAccounts/vendorbox"
	assignment := p.grant(p.ownerID(), "Reader", account)
	definitions, subscription := "/providers/Microsoft.Authorization/roleDefinitions", "/subscriptions/"+p.info.SubscriptionID
	assignments := "/providers/Microsoft.Authorization/roleAssignments"
	custom := subscription + definitions + "/6a1b0f6e-0d3c-4f5c-9a3e-2c8f5b7d9e10"
	made := p.kept("roles", "role of one's own as it is made", "RoleDefinition", p.arm("PUT", custom, "2022-04-01", object{"properties": object{
		"roleName": "Vendor", "description": "d", "type": "CustomRole", "assignableScopes": []any{subscription},
		"permissions": []any{object{"actions": []any{"Microsoft.Storage/*/read"}, "notActions": []any{}, "dataActions": []any{}, "notDataActions": []any{}}}}}), 201)
	again := account + assignments + "/6a1b0f6e-0d3c-4f5c-9a3e-2c8f5b7d9e11"
	assigned := p.kept("roles", "assignment as it is made", "RoleAssignment", p.arm("PUT", again, "2022-04-01", object{"properties": object{
		"roleDefinitionId": custom, "principalId": p.ownerID(), "principalType": "ServicePrincipal", "description": "d"}}), 201)
	return []specimen{
		made, assigned,
		p.get("roles", "assignment", "RoleAssignment", assignment), p.get("roles", "assignment with a description", "RoleAssignment", again),
		p.get("roles", "assignments at an account", "RoleAssignment", account+assignments, "RoleAssignmentListResult"),
		p.get("roles", "assignments at the subscription", "RoleAssignment", subscription+assignments, "RoleAssignmentListResult"),
		p.get("roles", "role", "RoleDefinition", account+definitions+"/acdd72a7-3385-48ef-bd42-f606fba81ae7"),
		p.get("roles", "role of one's own", "RoleDefinition", custom),
		p.get("roles", "roles", "RoleDefinition", account+definitions, "RoleDefinitionListResult"),
	}
}

func (p *platform) registrySpecimens() []specimen {
	registries := p.group() + "/providers/Microsoft.ContainerRegistry/registries"
	made := p.arm("PUT", registries+"/vendorregistry", "2023-07-01", object{"location": p.info.Location, "tags": object{"a": "b"}, "sku": object{"name": "Premium"},
		"properties": object{"adminUserEnabled": false, "publicNetworkAccess": "Enabled", "zoneRedundancy": "Disabled"}})
	p.ended(made)
	return []specimen{
		p.kept("registries", "registry as it is made", "Registry", made, 200, 201),
		p.get("registries", "registry", "Registry", registries+"/vendorregistry"),
		p.get("registries", "registries", "Registry", registries, "RegistryListResult"),
		p.get("registries", "registries of the subscription", "Registry", "/subscriptions/"+p.info.SubscriptionID+"/providers/Microsoft.ContainerRegistry/registries", "RegistryListResult"),
		p.kept("registries", "patched registry", "Registry", p.arm("PATCH", registries+"/vendorregistry", "2023-07-01", object{"tags": object{"a": "c"}, "sku": object{"name": "Basic"}}), 200, 201),
	}
}

// companionSpecimens are the records that a workspace's template makes beside it.
func (p *platform) companionSpecimens() (all []specimen) {
	for _, c := range []struct {
		plane, path, model, list, version string
		body                              object
	}{
		{"vaults", "Microsoft.KeyVault/vaults", "Vault", "VaultListResult", "2023-07-01", object{"properties": object{
			"tenantId": p.info.TenantID, "sku": object{"family": "A", "name": "standard"}, "accessPolicies": []any{}}}},
		{"components", "Microsoft.Insights/components", "ApplicationInsightsComponent", "ApplicationInsightsComponentListResult", "2020-02-02", object{
			"kind": "web", "properties": object{"Application_Type": "web"}}},
		{"analytics", "Microsoft.OperationalInsights/workspaces", "Workspace", "WorkspaceListResult", "2021-06-01", object{
			"properties": object{"sku": object{"name": "PerGB2018"}, "retentionInDays": 30}}},
	} {
		c.body["location"], c.body["tags"] = p.info.Location, object{"a": "b"}
		path := p.group() + "/providers/" + c.path
		all = append(all, p.kept(c.plane, c.model+" as it is made", c.model, p.arm("PUT", path+"/vendorbeside", c.version, c.body), 200, 201),
			p.get(c.plane, c.model, c.model, path+"/vendorbeside"), p.get(c.plane, c.model+"s", c.model, path, c.list))
	}
	return all
}

func (p *platform) resourceSpecimens() []specimen {
	subscription := "/subscriptions/" + p.info.SubscriptionID
	made := p.arm("PUT", subscription+"/resourceGroups/vendor", "2021-04-01", object{"location": p.info.Location, "tags": object{"a": "b"}})
	return []specimen{
		p.kept("resources", "group as it is made", "ResourceGroup", made, 201),
		p.get("resources", "group", "ResourceGroup", p.group()), p.get("resources", "group with tags", "ResourceGroup", subscription+"/resourceGroups/vendor"),
		p.get("resources", "groups", "ResourceGroup", subscription+"/resourceGroups", "ResourceGroupListResult"),
		p.kept("resources", "patched group", "ResourceGroup", p.arm("PATCH", subscription+"/resourceGroups/vendor", "2021-04-01", object{"tags": object{"a": "c"}}), 200),
		p.get("resources", "resources of a group", "GenericResourceExpanded", p.group()+"/resources?$expand=createdTime,changedTime,provisioningState", "ResourceListResult"),
		p.get("resources", "resources", "GenericResourceExpanded", subscription+"/resources", "ResourceListResult"),
		p.get("resources", "provider", "Provider", subscription+"/providers/Microsoft.Storage"),
		p.get("resources", "providers", "Provider", subscription+"/providers", "ProviderListResult"),
		p.asking("POST", "resources", "registered provider", "Provider", subscription+"/providers/Microsoft.MachineLearningServices/register", nil),
		p.get("subscriptions", "subscription", "Subscription", subscription),
		p.get("subscriptions", "subscriptions", "Subscription", "/subscriptions", "SubscriptionListResult"),
		p.get("subscriptions", "locations", "Location", subscription+"/locations", "LocationListResult"),
		p.get("subscriptions", "tenants", "TenantIdDescription", "/tenants", "TenantListResult"),
	}
}

func (p *platform) deploymentSpecimens() []specimen {
	deployments := p.group() + "/providers/Microsoft.Resources/deployments"
	body := templateBody(template, `{"prefix": {"value": "ven"}}`)
	valid := p.do("POST", armHost+deployments+"/vendor/validate?api-version="+deploymentVersion, bearerHeader(p.owner(armHost)), []byte(body))
	made := p.deployTemplate(p.owner(armHost), "vendor", body)
	p.settle(made)
	failing := strings.Replace(template, `"kind": "StorageV2"`, `"kind": "Unheard"`, 1)
	if op := p.wait(p.must(p.deployTemplate(p.owner(armHost), "vendor-failed", templateBody(failing, `{"prefix": {"value": "fai"}}`)), 201)); op.str("status") != "Failed" {
		p.t.Fatalf("a deployment that fails: %s", op.text)
	}
	const list = "DeploymentListResult"
	return []specimen{
		p.kept("deployments", "validated deployment", "DeploymentValidateResult", valid, 200),
		p.kept("deployments", "deployment being made", "DeploymentExtended", made, 201),
		p.get("deployments", "deployment", "DeploymentExtended", deployments+"/vendor"),
		p.get("deployments", "failed deployment", "DeploymentExtended", deployments+"/vendor-failed"),
		p.get("deployments", "deployments", "DeploymentExtended", deployments, list),
		p.get("deployments", "operations", "DeploymentOperation", deployments+"/vendor/operations", "DeploymentOperationsListResult"),
		p.get("deployments", "operations of a failed deployment", "DeploymentOperation", deployments+"/vendor-failed/operations", "DeploymentOperationsListResult"),
	}
}

// errorSpecimens are refusals of each plane: for what is not there, for what is
// not allowed and for bodies that are not taken.
func (p *platform) errorSpecimens() []specimen {
	_, nobody := p.application("vendor-nobody")
	all := []specimen{}
	refused := func(plane, name string, status int, ask func(version string) answer) {
		all = append(all, specimen{plane: plane, name: name, model: "ErrorDetail", models: []string{"CloudErrorBody", "ErrorResponseBody", "ErrorResponse"}, ask: func(version string) answer {
			a := p.must(ask(version), status)
			a.json, _ = a.json["error"].(map[string]any)
			return a
		}})
	}
	odd := object{"location": p.info.Location, "kind": "Odd", "sku": object{"name": "Odd"}, "properties": object{"authMode": "Odd", "mode": "Odd", "roleDefinitionId": "odd", "principalId": "odd"}}
	id, providers := "6a1b0f6e-0d3c-4f5c-9a3e-2c8f5b7d9e19", p.group()+"/providers/"
	for plane, path := range map[string]string{
		"ml": p.endpoint("nowhere"), "storage": providers + "Microsoft.Storage/storageAccounts/nowhere17", "registries": providers + "Microsoft.ContainerRegistry/registries/nowhere17",
		"identities": providers + "Microsoft.ManagedIdentity/userAssignedIdentities/nowhere17", "roles": providers + "Microsoft.Authorization/roleAssignments/" + id,
		"deployments": providers + "Microsoft.Resources/deployments/nowhere17", "resources": "/subscriptions/" + p.info.SubscriptionID + "/resourceGroups/nowhere17",
		"subscriptions": "/subscriptions/" + p.info.SubscriptionID,
	} {
		refused(plane, "denied", 403, func(version string) answer { return p.armAs(nobody, "GET", path, version, nil) })
		if plane == "subscriptions" {
			continue
		}
		refused(plane, "not found", 404, func(version string) answer { return p.arm("GET", path, version, nil) })
		if plane != "identities" && plane != "resources" { // whose bodies have nothing to be odd
			refused(plane, "bad request", 400, func(version string) answer { return p.arm("PUT", path, version, odd) })
		}
	}
	return all
}
