package az

import (
	"context"
	"strings"

	"lapis/armid"
	"lapis/cli/cloud"
)

const workspaceType = "Microsoft.MachineLearningServices/workspaces"

func workspaceBranch() branch {
	workspace := kind{versionWorkspace, showWorkspace}
	return branch{name: "workspace", help: "Manage Azure ML workspaces.", commands: []command{
		{name: "show", help: "Show details for a workspace.", run: workspace.show(inWorkspace), args: []arg{groupArg(),
			{names: "--name --workspace-name -n -w", help: "Name of the workspace.", required: true, from: "workspace"}}},
		{name: "list", help: "List workspaces of a resource group.", run: workspace.list(allOf(workspaceType)), args: []arg{groupArg()}},
	}}
}

// workspaceID is the path of the workspace that the arguments name.
func (c *Call) workspaceID(ctx context.Context) (string, error) {
	sub, err := c.subscription(ctx)
	name := c.str("workspace-name")
	if c.inputs["workspace-name"] == nil {
		name = c.str("name")
	}
	return providerPath(sub, c.str("resource-group"), workspaceType, name), err
}

// inWorkspace is the workspace that the arguments name.
func inWorkspace(ctx context.Context, c *Call) (*cloud.Session, string, error) {
	s, err := c.Session()
	if err != nil {
		return nil, "", err
	}
	path, err := c.workspaceID(ctx)
	return s, path, err
}

func showWorkspace(w object) object {
	p := func(name string) any { return at(w, "properties."+name) }
	shown := prune(object{
		"id": w["id"], "name": w["name"], "location": w["location"], "tags": orEmpty(w["tags"]), "kind": w["kind"],
		"application_insights": p("applicationInsights"), "container_registry": p("containerRegistry"), "description": p("description"),
		"discovery_url": p("discoveryUrl"), "display_name": p("friendlyName"), "hbi_workspace": p("hbiWorkspace"), "key_vault": p("keyVault"),
		"mlflow_tracking_uri": p("mlFlowTrackingUri"), "public_network_access": p("publicNetworkAccess"), "storage_account": p("storageAccount"),
		"identity": showIdentity(child(w, "identity")),
	})
	if id, err := armid.Parse(text(w, "id")); err == nil {
		shown["resource_group"] = id.ResourceGroupName()
	}
	return withGroup(shown)
}

func assetArgs() []arg {
	return join(workspaceArgs(), []arg{{names: "--name -n", help: "Name.", required: true}, {names: "--version -v", help: "Version."}, {names: "--label -l", help: "Label, in place of a version: latest."}})
}

func listArgs() []arg {
	return join(workspaceArgs(), []arg{{names: "--name -n", help: "Name; its versions are listed."}, {names: "--max-results -r", hidden: true}})
}

func modelBranch() branch {
	model := kind{versionModel, showModel}
	return branch{name: "model", help: "Manage Azure ML models.", commands: []command{
		{name: "list", help: "List models, or the versions of one.", args: listArgs(), run: model.list(assets("models"))},
		{name: "show", help: "Show details for a model.", args: assetArgs(), run: model.show(assetVersion("models", versionModel))},
	}}
}

func environmentBranch() branch {
	environment := kind{versionEnvironment, showEnvironment}
	return branch{name: "environment", help: "Manage Azure ML environments.", commands: []command{
		{name: "list", help: "List environments, or the versions of one.", args: listArgs(), run: environment.list(assets("environments"))},
		{name: "show", help: "Show details for an environment.", args: assetArgs(), run: environment.show(assetVersion("environments", versionEnvironment))},
	}}
}

func datastoreBranch() branch {
	datastore := kind{versionDatastore, showDatastore}
	named := join(workspaceArgs(), []arg{nameArg("Name of the datastore.")})
	return branch{name: "datastore", help: "Manage Azure ML datastores.", commands: []command{
		{name: "list", help: "List datastores.", args: workspaceArgs(), run: datastore.list(place(inWorkspace).below("datastores"))},
		{name: "show", help: "Show details for a datastore.", args: named, run: datastore.show(assetAt("datastores"))},
	}}
}

// assetAt is the asset of a collection that --name names.
func assetAt(collection string) place {
	return func(ctx context.Context, c *Call) (*cloud.Session, string, error) {
		s, path, err := inWorkspace(ctx, c)
		return s, path + "/" + collection + "/" + escape(c.str("name")), err
	}
}

// assets is the collection, or the versions of the asset that --name names.
func assets(collection string) place {
	return func(ctx context.Context, c *Call) (*cloud.Session, string, error) {
		if c.str("name") != "" {
			return assetAt(collection).below("versions")(ctx, c)
		}
		return place(inWorkspace).below(collection)(ctx, c)
	}
}

// assetVersion is the version that --version or --label names.
func assetVersion(collection, version string) place {
	return func(ctx context.Context, c *Call) (*cloud.Session, string, error) {
		if c.given("version") == c.given("label") {
			return nil, "", usage("give either --version/-v or --label/-l")
		}
		s, path, err := assetAt(collection)(ctx, c)
		if err != nil {
			return nil, "", err
		}
		v := c.str("version")
		if c.given("label") {
			if c.str("label") != "latest" {
				return nil, "", usage("argument --label/-l: the only label is latest")
			}
			container, err := s.Get(ctx, path, version)
			if err != nil {
				return nil, "", err
			}
			v = text(container, "properties.latestVersion")
		}
		return s, path + "/versions/" + escape(v), nil
	}
}

// assetName is the name and version that an asset's id holds.
func assetName(o object) (name, version any) {
	id, err := armid.Parse(text(o, "id"))
	if err != nil {
		return o["name"], nil
	}
	names := id.Names()
	if strings.HasSuffix(strings.ToLower(id.Type()), "/versions") && len(names) >= 2 {
		return names[len(names)-2], names[len(names)-1]
	}
	return id.Name(), nil
}

func showModel(o object) object {
	name, version := assetName(o)
	return marked(withGroup(prune(object{"id": o["id"], "name": name, "version": version, "type": at(o, "properties.modelType"), "path": at(o, "properties.modelUri"),
		"description": at(o, "properties.description"), "tags": orEmpty(at(o, "properties.tags")), "properties": orEmpty(at(o, "properties.properties")),
		"latest_version": at(o, "properties.latestVersion"), "creation_context": creation(o)})))
}

func showEnvironment(o object) object {
	name, version := assetName(o)
	return marked(withGroup(prune(object{"id": o["id"], "name": name, "version": version, "image": at(o, "properties.image"), "conda_file": showConda(at(o, "properties.condaFile")),
		"description": at(o, "properties.description"), "os_type": lowered(at(o, "properties.osType")), "tags": orEmpty(at(o, "properties.tags")),
		"latest_version": at(o, "properties.latestVersion"), "creation_context": creation(o)})))
}

func showDatastore(o object) object {
	p := func(name string) any { return at(o, "properties."+name) }
	return withGroup(prune(object{"id": o["id"], "name": o["name"], "type": toShown([]wordPair{{"AzureBlob", "azure_blob"}, {"AzureFile", "azure_file"}}, text(o, "properties.datastoreType")),
		"account_name": p("accountName"), "container_name": p("containerName"), "endpoint": p("endpoint"), "protocol": p("protocol"), "is_default": p("isDefault"),
		"credentials": object{}, "description": p("description"), "tags": orEmpty(p("tags"))}))
}

// marked writes an asset's id as azure-ai-ml does.
func marked(shown object) object {
	shown["id"] = assetRef(shown["id"])
	return shown
}
