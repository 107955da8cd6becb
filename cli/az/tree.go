package az

// The api-versions that requests carry.
const (
	versionSubscriptions = "2022-12-01"
	versionGroups        = "2024-11-01"
	versionTemplate      = "2024-11-01"
	versionIdentity      = "2023-01-31"
	versionStorage       = "2024-01-01"
	versionRoles         = "2022-04-01"
	versionRoleLookup    = "2022-05-01-preview"
	versionWorkspace     = "2024-10-01-preview"
	versionEndpoint      = "2022-02-01-preview"
	versionDeployment    = "2023-04-01-preview"
	versionEnvironment   = "2023-04-01-preview"
	versionModel         = "2023-08-01-preview"
	versionDatastore     = "2024-07-01-preview"
)

// Arguments that many commands share.

func nameArg(help string) arg {
	return arg{names: "--name -n", help: help, required: true}
}

func groupArg() arg {
	return arg{names: "--resource-group -g", help: "Name of the resource group.", required: true, from: "group"}
}

func workspaceArgs() []arg {
	return []arg{groupArg(), {names: "--workspace-name -w", help: "Name of the Azure ML workspace.", required: true, from: "workspace"}}
}

func locationArg() arg {
	return arg{names: "--location -l", help: "Location.", from: "location"}
}

func tagsArg() arg {
	return arg{names: "--tags", help: "Tags as key=value, parted by spaces; \"\" for none.", kind: many}
}

func yesArg() arg { return arg{names: "--yes -y", help: "Do not ask.", kind: flag} }

func noWaitArg() arg {
	return arg{names: "--no-wait", help: "Do not wait for the long-running operation to finish.", kind: flag}
}

func fileArg(required bool) arg {
	return arg{names: "--file -f", help: "Local path to the YAML file with the definition.", required: required}
}

func changeArgs() []arg {
	return append(setArgs(),
		arg{names: "--add", help: "Add to a list: path, then key=value, text or JSON.", kind: bunch},
		arg{names: "--remove", help: "Remove a property, or an element of a list by its index.", kind: bunch})
}

func setArgs() []arg {
	return []arg{{names: "--set", help: "Change the definition by path=value, such as environment_variables.NAME=value.", kind: many}}
}

// join puts arguments together.
func join(lists ...[]arg) []arg {
	var all []arg
	for _, list := range lists {
		all = append(all, list...)
	}
	return all
}

// tree is the whole grammar.
func tree() branch {
	return branch{
		branches: []branch{
			accountBranch(), configBranch(), templateBranch(), groupBranch(), identityBranch(), storageBranch(), roleBranch(), mlBranch(),
		},
		commands: []command{configureCommand(), loginCommand(), logoutCommand(), restCommand(), versionCommand()},
	}
}

func mlBranch() branch {
	return branch{name: "ml", help: "Manage Azure Machine Learning resources.", branches: []branch{
		workspaceBranch(), endpointBranch(), deploymentBranch(), modelBranch(), environmentBranch(), datastoreBranch(),
	}}
}
