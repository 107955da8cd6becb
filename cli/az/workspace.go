package az

import (
	"context"
	"strings"

	"lapis/armid"
	"lapis/cli/cloud"
)

const workspaceType = "Microsoft.MachineLearningServices/workspaces"

func workspaceBranch() branch {
	return branch{name: "workspace", help: "Manage Azure ML workspaces.", commands: []command{
		{name: "show", help: "Show details for a workspace.", run: workspaceShow, args: []arg{groupArg(),
			{names: "--name --workspace-name -n -w", help: "Name of the workspace.", required: true, from: "workspace"}}},
		{name: "list", help: "List workspaces of a resource group.", run: workspaceList, args: []arg{groupArg()}},
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

// inWorkspace returns the session and the path of the workspace.
func (c *Call) inWorkspace(ctx context.Context) (*cloud.Session, string, error) {
	s, err := c.Session()
	if err != nil {
		return nil, "", err
	}
	path, err := c.workspaceID(ctx)
	return s, path, err
}

func workspaceShow(ctx context.Context, c *Call) (any, error) {
	s, path, err := c.inWorkspace(ctx)
	if err != nil {
		return nil, err
	}
	w, err := s.Get(ctx, path, versionWorkspace)
	if err != nil {
		return nil, err
	}
	return showWorkspace(w), nil
}

func workspaceList(ctx context.Context, c *Call) (any, error) {
	s, err := c.Session()
	if err != nil {
		return nil, err
	}
	sub, err := c.subscription(ctx)
	if err != nil {
		return nil, err
	}
	list, err := s.List(ctx, groupPath(sub, c.str("resource-group"))+"/providers/"+workspaceType, versionWorkspace, nil)
	if err != nil {
		return nil, err
	}
	return each(list, showWorkspace), nil
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
	return branch{name: "model", help: "Manage Azure ML models.", commands: []command{
		{name: "list", help: "List models, or the versions of one.", args: listArgs(), run: assetList("models", versionModel, showModel)},
		{name: "show", help: "Show details for a model.", args: assetArgs(), run: assetShow("models", versionModel, showModel)},
	}}
}

func environmentBranch() branch {
	return branch{name: "environment", help: "Manage Azure ML environments.", commands: []command{
		{name: "list", help: "List environments, or the versions of one.", args: listArgs(), run: assetList("environments", versionEnvironment, showEnvironment)},
		{name: "show", help: "Show details for an environment.", args: assetArgs(), run: assetShow("environments", versionEnvironment, showEnvironment)},
	}}
}

func datastoreBranch() branch {
	return branch{name: "datastore", help: "Manage Azure ML datastores.", commands: []command{
		{name: "list", help: "List datastores.", args: workspaceArgs(), run: func(ctx context.Context, c *Call) (any, error) {
			s, path, err := c.inWorkspace(ctx)
			if err != nil {
				return nil, err
			}
			list, err := s.List(ctx, path+"/datastores", versionDatastore, nil)
			if err != nil {
				return nil, err
			}
			return each(list, showDatastore), nil
		}},
		{name: "show", help: "Show details for a datastore.", args: join(workspaceArgs(), []arg{nameArg("Name of the datastore.")}), run: func(ctx context.Context, c *Call) (any, error) {
			s, path, err := c.inWorkspace(ctx)
			if err != nil {
				return nil, err
			}
			store, err := s.Get(ctx, path+"/datastores/"+escape(c.str("name")), versionDatastore)
			if err != nil {
				return nil, err
			}
			return showDatastore(store), nil
		}},
	}}
}

func assetList(kind, version string, show func(object) object) func(context.Context, *Call) (any, error) {
	return func(ctx context.Context, c *Call) (any, error) {
		s, path, err := c.inWorkspace(ctx)
		if err != nil {
			return nil, err
		}
		path += "/" + kind
		if name := c.str("name"); name != "" {
			path += "/" + escape(name) + "/versions"
		}
		list, err := s.List(ctx, path, version, nil)
		if err != nil {
			return nil, err
		}
		return each(list, show), nil
	}
}

func assetShow(kind, version string, show func(object) object) func(context.Context, *Call) (any, error) {
	return func(ctx context.Context, c *Call) (any, error) {
		if c.given("version") == c.given("label") {
			return nil, usage("give either --version/-v or --label/-l")
		}
		s, path, err := c.inWorkspace(ctx)
		if err != nil {
			return nil, err
		}
		path += "/" + kind + "/" + escape(c.str("name"))
		v := c.str("version")
		if c.given("label") {
			if c.str("label") != "latest" {
				return nil, usage("argument --label/-l: the only label is latest")
			}
			container, err := s.Get(ctx, path, version)
			if err != nil {
				return nil, err
			}
			v = text(container, "properties.latestVersion")
		}
		asset, err := s.Get(ctx, path+"/versions/"+escape(v), version)
		if err != nil {
			return nil, err
		}
		return show(asset), nil
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
