package az

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"lapis/cli/asset"
	"lapis/cli/cloud"
	"lapis/cli/definition"
)

func deploymentBranch() branch {
	name := nameArg("Name of the deployment.")
	deployment := kind{versionDeployment, showDeployment}
	endpoint := arg{names: "--endpoint-name -e", help: "Name of the online endpoint.", required: true}
	named := join(workspaceArgs(), []arg{name, endpoint, {names: "--local", hidden: true, kind: flag}})
	change := join(workspaceArgs(), []arg{
		{names: "--name -n", help: "Name of the deployment; goes before the file's."},
		{names: "--endpoint-name -e", help: "Name of the online endpoint; goes before the file's."},
		noWaitArg(), {names: "--skip-script-validation", help: "Do not look for the scoring script.", kind: flag},
		{names: "--local", hidden: true, kind: flag}, {names: "--web", kind: flag, hidden: true}})
	return branch{name: "online-deployment", help: "Manage Azure ML online deployments.", commands: []command{
		{name: "create", help: "Create a deployment.", run: deploymentCreate,
			example: "az ml online-deployment create --endpoint-name ENDPOINT --name blue --file deployment.yml --all-traffic --set environment_variables.NAME=value",
			args:    join(change, setArgs(), []arg{fileArg(true), {names: "--all-traffic", help: "Give the deployment all traffic once it is made.", kind: flag}})},
		{name: "update", help: "Update a deployment.", run: deploymentUpdate, args: join(change, changeArgs(), []arg{fileArg(false)})},
		{name: "show", help: "Show a deployment.", run: deployment.show(deploymentAt), args: named},
		{name: "list", help: "List deployments of an endpoint.", run: deployment.list(endpointAt("endpoint-name").below("deployments")), args: join(workspaceArgs(), []arg{endpoint, {names: "--local", hidden: true, kind: flag}})},
		{name: "delete", help: "Delete a deployment.", run: deployment.delete(deploymentAt, "the deployment %s"), args: join(named, []arg{yesArg(), noWaitArg()})},
		{name: "get-logs", help: "Get the container logs for a deployment. Without -o they are shown as they are, line by line.", run: deploymentLogs, args: join(named, []arg{
			{names: "--lines -l", help: "The maximum number of lines to tail.", value: "5000"},
			{names: "--follow", help: "Go on with the lines that come, until it is interrupted or the deployment goes. Not in Azure's az.", kind: flag},
			{names: "--container -c", help: "The container to get logs from.", choices: []string{"inference-server", "storage-initializer"}}})},
	}}
}

func (c *Call) deploymentPath(ctx context.Context, endpoint, name string) (*cloud.Session, string, string, error) {
	s, _, path, err := c.endpointPath(ctx, endpoint)
	return s, path, path + "/deployments/" + escape(name), err
}

// deploymentAt is the deployment that the arguments name.
func deploymentAt(ctx context.Context, c *Call) (*cloud.Session, string, error) {
	s, _, path, err := c.deploymentPath(ctx, c.str("endpoint-name"), c.str("name"))
	return s, path, err
}

func deploymentCreate(ctx context.Context, c *Call) (any, error) {
	d, err := c.load()
	if err != nil {
		return nil, err
	}
	if endpoint := c.str("endpoint-name"); endpoint != "" {
		d.Put("endpoint_name", endpoint)
	}
	if err := c.checkDeployment(d); err != nil {
		return nil, err
	}
	endpoint, name := text(d.Tree, "endpoint_name"), text(d.Tree, "name")
	s, endpointPath, path, err := c.deploymentPath(ctx, endpoint, name)
	if err != nil {
		return nil, err
	}
	if err := unlessThere(ctx, s, path, versionDeployment, "the deployment "+name); err != nil {
		return nil, err
	}
	if _, err := s.Get(ctx, endpointPath, versionDeployment); err != nil {
		return nil, err
	}
	result, err := c.putDeployment(ctx, s, d, path, "creating deployment "+name)
	if err != nil {
		return nil, err
	}
	if c.on("all-traffic") && !c.on("no-wait") {
		if err := c.allTraffic(ctx, s, endpointPath, name); err != nil {
			return nil, fmt.Errorf("the deployment %s is made, but it did not get the traffic: %w", name, err)
		}
	}
	return showDeployment(result), nil
}

// checkDeployment checks the definition, and that the files it names are there.
func (c *Call) checkDeployment(d *definition.Document) error {
	if err := c.check(d, definition.Deployment()); err != nil {
		return err
	}
	if d.Tree["data_collector"] != nil {
		return fmt.Errorf("%s: collecting data is not supported yet; take the field out", d.Where("data_collector"))
	}
	script := text(d.Tree, "code_configuration.scoring_script")
	code := text(d.Tree, "code_configuration.code")
	if code == "" || script == "" || isAssetRef(code) || c.on("skip-script-validation") {
		return nil
	}
	folder, err := d.Path("code_configuration.code", code)
	if err != nil {
		return err
	}
	if stat, err := os.Stat(folder); err == nil && !stat.IsDir() {
		folder = filepath.Dir(folder)
	}
	if _, err := os.Stat(filepath.Join(folder, filepath.FromSlash(script))); err != nil {
		return hinted(fmt.Errorf("%s: there is no %s in %s", d.Where("code_configuration.scoring_script"), script, folder), "scoring_script counts from the folder that code names")
	}
	return nil
}

func isAssetRef(s string) bool {
	return strings.HasPrefix(s, "azureml:") || strings.HasPrefix(s, "/subscriptions/")
}

// putDeployment registers the assets, in azure-ai-ml's order, and puts the
// deployment.
func (c *Call) putDeployment(ctx context.Context, s *cloud.Session, d *definition.Document, path, title string) (object, error) {
	workspace, err := c.workspaceID(ctx)
	if err != nil {
		return nil, err
	}
	p := c.progress(title)
	r := &asset.Registrar{Session: s, Workspace: workspace, Say: p.say}
	body, err := c.register(ctx, r, d)
	p.end()
	if err != nil {
		return nil, err
	}
	result, err := c.follow(ctx, s, cloud.Request{Method: http.MethodPut, Path: path, Version: versionDeployment, Body: body}, title)
	var f *cloud.Failure
	if errors.As(err, &f) && f.Status == 0 {
		err = hinted(err, "all that it said: az ml online-deployment get-logs --endpoint-name %s --name %s", text(d.Tree, "endpoint_name"), text(d.Tree, "name"))
	}
	return result, err
}

func (c *Call) register(ctx context.Context, r *asset.Registrar, d *definition.Document) (object, error) {
	code, err := c.registerCode(ctx, r, d)
	if err != nil {
		return nil, err
	}
	environment, err := c.registerEnvironment(ctx, r, d)
	if err != nil {
		return nil, err
	}
	model, err := c.registerModel(ctx, r, d)
	if err != nil {
		return nil, err
	}
	c.tell(d)
	location, err := workspaceLocation(ctx, r.Session, r.Workspace)
	if err != nil {
		return nil, err
	}
	return wireDeployment(d.Tree, code, environment, model, location), nil
}

func (c *Call) registerCode(ctx context.Context, r *asset.Registrar, d *definition.Document) (string, error) {
	code := text(d.Tree, "code_configuration.code")
	switch {
	case code == "":
		return "", nil
	case isAssetRef(code):
		return r.Resolve(ctx, "codes", code)
	}
	folder, err := d.Path("code_configuration.code", code)
	if err != nil {
		return "", err
	}
	return r.Code(ctx, folder)
}

func (c *Call) registerEnvironment(ctx context.Context, r *asset.Registrar, d *definition.Document) (string, error) {
	switch e := d.Tree["environment"].(type) {
	case string:
		id, err := r.Resolve(ctx, "environments", e)
		if err != nil {
			return "", fmt.Errorf("%s: %w", d.Where("environment"), err)
		}
		return id, nil
	case object:
		environment, err := environmentOf(d, e)
		if err != nil {
			return "", err
		}
		return r.Environment(ctx, environment)
	}
	return "", nil
}

func environmentOf(d *definition.Document, e object) (asset.Environment, error) {
	out := asset.Environment{Name: text(e, "name"), Version: text(e, "version"), Image: text(e, "image"), Description: text(e, "description"),
		OSType: text(e, "os_type"), Tags: e["tags"], Properties: e["properties"], Datastore: text(e, "datastore"), Dockerfile: text(e, "build.dockerfile_path")}
	if build := text(e, "build.path"); build != "" {
		if out.Image != "" {
			return out, fmt.Errorf("%s: an environment has either build or image, not both", d.Where("environment.build"))
		}
		path, err := d.Path("environment.build.path", build)
		if err != nil {
			return out, err
		}
		out.BuildPath = path
	} else if out.Image == "" {
		return out, hinted(fmt.Errorf("%s: an environment needs image or build", d.Where("environment")), "a conda_file is laid over an image, such as mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04:latest")
	}
	if routes := child(e, "inference_config"); routes != nil {
		out.InferenceConfig = object{"livenessRoute": routes["liveness_route"], "readinessRoute": routes["readiness_route"], "scoringRoute": routes["scoring_route"]}
	}
	var err error
	switch conda := e["conda_file"].(type) {
	case nil:
	case string:
		path, perr := d.Path("environment.conda_file", conda)
		if perr != nil {
			return out, perr
		}
		out.Conda, err = condaText(path, nil)
	default:
		out.Conda, err = condaText("", conda)
	}
	return out, err
}

func (c *Call) registerModel(ctx context.Context, r *asset.Registrar, d *definition.Document) (string, error) {
	switch m := d.Tree["model"].(type) {
	case string:
		id, err := r.Resolve(ctx, "models", m)
		if err != nil {
			return "", fmt.Errorf("%s: %w", d.Where("model"), err)
		}
		return id, nil
	case object:
		path := text(m, "path")
		if !strings.Contains(path, "://") {
			local, err := d.Path("model.path", path)
			if err != nil {
				return "", err
			}
			path = local
		}
		return r.Model(ctx, asset.Model{Name: text(m, "name"), Version: text(m, "version"), Type: text(m, "type"), Path: path, Description: text(m, "description"),
			Stage: text(m, "stage"), Tags: m["tags"], Properties: m["properties"], Flavors: m["flavors"], Datastore: text(m, "datastore")})
	}
	return "", nil
}

// allTraffic gives the deployment all live traffic.
func (c *Call) allTraffic(ctx context.Context, s *cloud.Session, endpointPath, name string) error {
	there, err := s.Get(ctx, endpointPath, versionEndpoint)
	if err != nil {
		return err
	}
	definition := editable(showEndpoint(there))
	definition["traffic"] = object{name: 100.0}
	return c.finish(ctx, s, cloud.Request{Method: http.MethodPut, Path: endpointPath, Version: versionEndpoint,
		Body: wireEndpoint(definition, text(there, "location"))}, "giving "+name+" all traffic")
}

func deploymentUpdate(ctx context.Context, c *Call) (any, error) {
	name, err := c.nameOrFile()
	if err != nil {
		return nil, err
	}
	endpoint := c.str("endpoint-name")
	if endpoint == "" {
		if d, err := definition.Load(c.str("file")); err == nil {
			endpoint = text(d.Tree, "endpoint_name")
		}
	}
	if endpoint == "" {
		return nil, usage("the following arguments are required: --endpoint-name/-e")
	}
	s, _, path, err := c.deploymentPath(ctx, endpoint, name)
	if err != nil {
		return nil, err
	}
	there, err := s.Get(ctx, path, versionDeployment)
	if err != nil {
		return nil, err
	}
	d, err := c.overlay(editable(showDeployment(there)))
	if err != nil {
		return nil, err
	}
	d.Put("name", name)
	d.Put("endpoint_name", endpoint)
	if err := c.checkDeployment(d); err != nil {
		return nil, err
	}
	result, err := c.putDeployment(ctx, s, d, path, "updating deployment "+name)
	if err != nil {
		return nil, err
	}
	return showDeployment(result), nil
}

func deploymentLogs(ctx context.Context, c *Call) (any, error) {
	tail, err := strconv.Atoi(c.str("lines"))
	if err != nil || tail < 1 {
		return nil, usage("argument --lines/-l: %q is not a number of lines", c.str("lines"))
	}
	s, path, err := deploymentAt(ctx, c)
	if err != nil {
		return nil, err
	}
	body := object{"tail": tail}
	switch c.str("container") {
	case "storage-initializer":
		body["containerType"] = "StorageInitializer"
	case "inference-server":
		body["containerType"] = "InferenceServer"
	}
	if c.on("follow") {
		return nil, followLogs(ctx, c.Stdout, s, path, body)
	}
	reply, err := s.Call(ctx, cloud.Request{Method: http.MethodPost, Path: path + "/getLogs", Version: versionDeployment, Body: body})
	if err != nil {
		return nil, err
	}
	content := text(reply.Object(), "content")
	if c.global("output") == "" && c.global("query") == "" { // a log is read, not parsed
		_, err := io.WriteString(c.Stdout, strings.TrimSuffix(content, "\n")+"\n")
		return nil, err
	}
	return content, nil
}

// followLogs writes the last lines of a log and then each that comes. Its end
// is that of ctx, or of the deployment.
func followLogs(ctx context.Context, out io.Writer, s *cloud.Session, path string, body object) error {
	for seen := false; ; seen = true {
		reply, err := s.Call(ctx, cloud.Request{Method: http.MethodPost, Path: path + "/followLogs", Version: versionDeployment, Body: body})
		if ctx.Err() != nil || seen && cloud.IsNotFound(err) {
			return nil
		}
		if err != nil {
			return err
		}
		answer := reply.Object()
		if _, err := io.WriteString(out, text(answer, "content")); err != nil {
			return err
		}
		if ended, _ := answer["ended"].(bool); ended {
			return nil
		}
		body["position"] = answer["position"]
	}
}
