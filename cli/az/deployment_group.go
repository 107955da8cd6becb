package az

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"lapis/armid"
	"lapis/cli/cloud"
)

const templateType = "Microsoft.Resources/deployments"

// templateBranch is az deployment. The deployments of endpoints are those of az ml.
func templateBranch() branch {
	template := arg{names: "--template-file -f", help: "Path of the template, JSON with or without comments.", required: true}
	optionalName := arg{names: "--name -n", help: "Name of the deployment.  Default: the base name of the template file."}
	name := nameArg("Name of the deployment.")
	parameters := arg{names: "--parameters -p", help: "Parameters as key=value, key=@file, a file of parameters, or JSON; may be repeated, what comes later goes before.", kind: many}
	mode := arg{names: "--mode", help: "What becomes of resources that the template leaves out.", value: "Incremental", choices: []string{"Complete", "Incremental"}}
	prompt := arg{names: "--no-prompt", kind: truth, hidden: true} // nothing is ever asked
	deployment := kind{versionTemplate, showTemplate}
	sent := []arg{groupArg(), optionalName, template, parameters, mode, prompt}
	return branch{name: "deployment", help: "Manage deployments of templates.", branches: []branch{
		{name: "group", help: "Manage deployments of templates in a resource group.", commands: []command{
			{name: "create", help: "Deploy a template.", run: templateCreate, args: append(sent[:len(sent):len(sent)], noWaitArg()),
				example: "az deployment group create --resource-group GROUP --template-file main.json --parameters @main.parameters.json name=NAME"},
			{name: "validate", help: "Check whether a template can be deployed; nothing is made.", run: templateValidate, args: sent,
				example: "az deployment group validate --resource-group GROUP --template-file main.json --parameters name=NAME"},
			{name: "show", help: "Show a deployment.", run: deployment.show(inGroup(templateType)), args: []arg{groupArg(), name}},
			{name: "list", help: "List the deployments of a resource group.", run: deployment.list(allOf(templateType)), args: []arg{groupArg()}},
			{name: "delete", help: "Delete the record of a deployment; what it made stays.", run: templateDelete, args: []arg{groupArg(), name, noWaitArg()}},
		}},
	}}
}

// templateRequest reads the files and returns what both create and validate
// send, and the path of the deployment.
func (c *Call) templateRequest(ctx context.Context) (s *cloud.Session, path, name string, body object, err error) {
	file := c.str("template-file")
	t, err := readTemplate(file)
	if err != nil {
		return nil, "", "", nil, err
	}
	parameters, err := t.parameters(c.list("parameters"), os.ReadFile)
	if err != nil {
		return nil, "", "", nil, err
	}
	if name = c.str("name"); name == "" {
		name = baseName(file)
	}
	s, sub, err := c.inSubscription(ctx)
	if err != nil {
		return nil, "", "", nil, err
	}
	body = object{"properties": object{"mode": c.str("mode"), "template": t.content, "parameters": parameters}}
	return s, providerPath(sub, c.str("resource-group"), templateType, name), name, body, nil
}

// baseName is the name of a file without folder and extension.
func baseName(file string) string {
	base := filepath.Base(file)
	if name := strings.TrimSuffix(base, filepath.Ext(base)); name != "" {
		return name
	}
	return base
}

// validTemplate asks the service what it thinks of a deployment.
func validTemplate(ctx context.Context, s *cloud.Session, path string, body object) (object, error) {
	reply, err := s.Call(ctx, cloud.Request{Method: http.MethodPost, Path: path + "/validate", Version: versionTemplate, Body: body})
	if err != nil {
		return nil, err
	}
	// The service may also take its time, or refuse within an answer of 200.
	result, err := s.Wait(ctx, reply, nil)
	if err == nil && at(result, "error") != nil {
		err = cloud.OperationFailure("Failed", at(result, "error"))
	}
	return result, err
}

func templateCreate(ctx context.Context, c *Call) (any, error) {
	s, path, name, body, err := c.templateRequest(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := validTemplate(ctx, s, path, body); err != nil {
		return nil, err
	}
	made, err := c.follow(ctx, s, cloud.Request{Method: http.MethodPut, Path: path, Version: versionTemplate, Body: body}, "deploying "+name)
	if err != nil || c.on("no-wait") {
		return nil, err
	}
	return showTemplate(made), nil
}

func templateValidate(ctx context.Context, c *Call) (any, error) {
	s, path, _, body, err := c.templateRequest(ctx)
	if err != nil {
		return nil, err
	}
	result, err := validTemplate(ctx, s, path, body)
	if err != nil {
		return nil, err
	}
	return showTemplate(result), nil
}

func templateDelete(ctx context.Context, c *Call) (any, error) {
	s, path, err := inGroup(templateType)(ctx, c)
	if err != nil {
		return nil, err
	}
	return nil, c.finish(ctx, s, cloud.Request{Method: http.MethodDelete, Path: path, Version: versionTemplate}, "deleting "+c.str("name"))
}

// showTemplate shows a deployment as az does: not flattened, with null for what
// the service left out (DeploymentExtended, 2024-11-01), and with a resource
// group beside every id that has one.
func showTemplate(o object) object {
	withNulls(o, "location", "tags")
	if props := child(o, "properties"); props != nil {
		withNulls(props, "correlationId", "debugSetting", "dependencies", "duration", "error", "mode", "onErrorDeployment", "outputResources", "outputs",
			"parameters", "parametersLink", "providers", "provisioningState", "templateHash", "templateLink", "timestamp", "validatedResources")
	}
	groupsWithin(o)
	return o
}

func withNulls(o object, names ...string) {
	for _, name := range names {
		if _, ok := o[name]; !ok {
			o[name] = nil
		}
	}
}

func groupsWithin(v any) {
	switch v := v.(type) {
	case []any:
		for _, item := range v {
			groupsWithin(item)
		}
	case object:
		for _, item := range v {
			groupsWithin(item)
		}
		if _, has := v["resourceGroup"]; has {
			return
		}
		if id, err := armid.Parse(text(v, "id")); err == nil && id.ResourceGroupName() != "" {
			v["resourceGroup"] = id.ResourceGroupName()
		}
	}
}
