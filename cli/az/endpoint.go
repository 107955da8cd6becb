package az

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"lapis/cli/cloud"
	"lapis/cli/definition"
	"lapis/cli/setting"
)

func endpointBranch() branch {
	name := nameArg("Name of the online endpoint.")
	endpoint := kind{versionEndpoint, showEndpoint}
	local := arg{names: "--local", hidden: true, kind: flag}
	create := join(workspaceArgs(), []arg{
		{names: "--name -n", help: "Name of the online endpoint; goes before the file's."}, fileArg(false),
		{names: "--auth-mode", help: "How clients are authenticated.", choices: []string{"aad_token", "aml_token", "key"}},
		noWaitArg(), local, {names: "--web -e", kind: flag, hidden: true}})
	return branch{name: "online-endpoint", help: "Manage Azure ML online endpoints.", commands: []command{
		{name: "create", help: "Create an endpoint.", run: endpointCreate, args: join(create, setArgs()),
			example: "az ml online-endpoint create --name NAME -f endpoint.yml"},
		{name: "update", help: "Update an endpoint.", run: endpointUpdate, example: "az ml online-endpoint update --name NAME --traffic \"blue=90 green=10\"",
			args: join(create, changeArgs(), []arg{{names: "--traffic -r", help: "Live traffic, such as \"blue=90 green=10\".", kind: many},
				{names: "--mirror-traffic", help: "Copy of live traffic to one deployment, such as \"green=10\".", kind: many},
				{names: "--defaults", hidden: true}})},
		{name: "show", help: "Show details for an endpoint.", run: endpointShow, args: join(workspaceArgs(), []arg{name, local})},
		{name: "list", help: "List endpoints in a workspace.", run: endpoint.list(allEndpoints), args: join(workspaceArgs(), []arg{local})},
		{name: "delete", help: "Delete an endpoint and its deployments.", run: endpoint.delete(endpointAt("name"), "the online endpoint %s and its deployments"), args: join(workspaceArgs(), []arg{name, yesArg(), noWaitArg(), local})},
		{name: "invoke", help: "Invoke an endpoint.", run: endpointInvoke, example: "az ml online-endpoint invoke --name NAME --request-file request.json",
			args: join(workspaceArgs(), []arg{name, {names: "--request-file -r", help: "File with the request's data."},
				{names: "--deployment-name -d", help: "Name of the deployment to target."}, local})},
		{name: "get-credentials", help: "List the token or keys for an endpoint.", run: endpointCredentials, args: join(workspaceArgs(), []arg{name})},
		{name: "regenerate-keys", help: "Regenerate the keys for an endpoint.", run: endpointRegenerate, args: join(workspaceArgs(), []arg{name, noWaitArg(),
			{names: "--key-type", help: "The key to regenerate.", value: "primary", choices: []string{"primary", "secondary"}}})},
	}}
}

// refuseLocal stops --local, which means a Docker container on the client.
func (c *Call) refuseLocal() error {
	if !c.on("local") {
		return nil
	}
	return hinted(errors.New("--local runs an endpoint in Docker beside the command line, which is not built in"), "without --local it runs on this machine anyway, with its identity")
}

// endpointPath returns the session, the workspace, and the endpoint's path.
func (c *Call) endpointPath(ctx context.Context, name string) (*cloud.Session, string, string, error) {
	if err := c.refuseLocal(); err != nil {
		return nil, "", "", err
	}
	s, workspace, err := inWorkspace(ctx, c)
	return s, workspace, workspace + "/onlineEndpoints/" + escape(name), err
}

// endpointAt is the endpoint that an argument names.
func endpointAt(key string) place {
	return func(ctx context.Context, c *Call) (*cloud.Session, string, error) {
		s, _, path, err := c.endpointPath(ctx, c.str(key))
		return s, path, err
	}
}

func allEndpoints(ctx context.Context, c *Call) (*cloud.Session, string, error) {
	if err := c.refuseLocal(); err != nil {
		return nil, "", err
	}
	return place(inWorkspace).below("onlineEndpoints")(ctx, c)
}

// endpoint gets the endpoint that --name names.
func (c *Call) endpoint(ctx context.Context) (s *cloud.Session, path string, found object, err error) {
	if s, path, err = endpointAt("name")(ctx, c); err == nil {
		found, err = s.Get(ctx, path, versionEndpoint)
	}
	return s, path, found, err
}

// load reads a definition and lays the command line's settings over it.
func (c *Call) load() (*definition.Document, error) {
	if c.str("file") == "" && c.str("name") == "" {
		return nil, usage("the following arguments are required: --name/-n or --file/-f")
	}
	d, err := definition.Load(c.str("file"))
	if err != nil {
		return nil, err
	}
	if name := c.str("name"); name != "" {
		d.Put("name", name)
	}
	if err := d.Set(c.list("set")); err != nil {
		return nil, usage("%v", err)
	}
	return d, nil
}

// check checks the definition and passes on what is to be known of it.
func (c *Call) check(d *definition.Document, fields definition.Fields) error {
	err := d.Check(fields)
	c.tell(d)
	var problems definition.Problems
	if errors.As(err, &problems) {
		return fmt.Errorf("the definition is not valid:\n  %s", strings.Join(problems, "\n  "))
	}
	return err
}

func (c *Call) tell(d *definition.Document) {
	for _, note := range d.Notes() {
		c.note("%s", note)
	}
}

// unlessThere fails when the resource exists and has not failed.
func unlessThere(ctx context.Context, s *cloud.Session, path, version, what string) error {
	there, err := s.Get(ctx, path, version)
	if cloud.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	switch strings.ToLower(text(there, "properties.provisioningState")) {
	case "failed", "canceled":
		return nil
	}
	return hinted(fmt.Errorf("%s already exists, and is %s", what, text(there, "properties.provisioningState")), "to change it use update, to begin anew delete it first")
}

func endpointCreate(ctx context.Context, c *Call) (any, error) {
	d, err := c.load()
	if err != nil {
		return nil, err
	}
	if c.given("auth-mode") {
		d.Put("auth_mode", c.str("auth-mode"))
	}
	if err := c.check(d, definition.Endpoint()); err != nil {
		return nil, err
	}
	name := text(d.Tree, "name")
	s, workspace, path, err := c.endpointPath(ctx, name)
	if err != nil {
		return nil, err
	}
	if err := unlessThere(ctx, s, path, versionEndpoint, "the online endpoint "+name); err != nil {
		return nil, err
	}
	location, err := workspaceLocation(ctx, s, workspace)
	if err != nil {
		return nil, err
	}
	e, err := c.follow(ctx, s, cloud.Request{Method: http.MethodPut, Path: path, Version: versionEndpoint, Body: wireEndpoint(d.Tree, location)}, "creating endpoint "+name)
	if err != nil {
		return nil, err
	}
	return showEndpoint(e), nil
}

func workspaceLocation(ctx context.Context, s *cloud.Session, workspace string) (string, error) {
	w, err := s.Get(ctx, workspace, versionWorkspace)
	return text(w, "location"), err
}

// unsaid are the fields of a shown resource that a PUT does not say.
func unsaid() []string {
	return []string{"id", "resourceGroup", "kind", "provisioning_state", "scoring_uri", "openapi_uri", "creation_context"}
}

// editable turns what show gives into a definition to change.
func editable(shown object) object {
	for _, name := range unsaid() {
		delete(shown, name)
	}
	if properties := child(shown, "properties"); properties != nil {
		for _, name := range []string{"createdBy", "createdAt", "lastModifiedAt"} {
			delete(properties, name)
		}
	}
	if identity := child(shown, "identity"); identity != nil {
		delete(identity, "principal_id")
		delete(identity, "tenant_id")
		list, _ := identity["user_assigned_identities"].([]any)
		for _, item := range list {
			if one, ok := item.(object); ok {
				delete(one, "client_id")
				delete(one, "principal_id")
			}
		}
	}
	return shown
}

// overlay lays a file's fields, then --set, --add and --remove over what there
// is.
func (c *Call) overlay(there object) (*definition.Document, error) {
	d, err := definition.Load(c.str("file"))
	if err != nil {
		return nil, err
	}
	for name, value := range there {
		if _, said := d.Tree[name]; !said {
			d.Tree[name] = value
		}
	}
	if err := d.Set(c.list("set")); err != nil {
		return nil, usage("%v", err)
	}
	for key, change := range map[string]func(map[string]any, []string) error{"add": setting.Add, "remove": setting.Remove} {
		for _, group := range c.list(key) {
			var words []string
			if err := json.Unmarshal([]byte(group), &words); err != nil {
				return nil, err
			}
			if err := change(d.Tree, words); err != nil {
				return nil, usage("%v", err)
			}
		}
	}
	return d, nil
}

func endpointUpdate(ctx context.Context, c *Call) (any, error) {
	name, err := c.nameOrFile()
	if err != nil {
		return nil, err
	}
	s, _, path, err := c.endpointPath(ctx, name)
	if err != nil {
		return nil, err
	}
	there, err := s.Get(ctx, path, versionEndpoint)
	if err != nil {
		return nil, err
	}
	d, err := c.overlay(editable(showEndpoint(there)))
	if err != nil {
		return nil, err
	}
	for key, field := range map[string]string{"traffic": "traffic", "mirror-traffic": "mirror_traffic"} {
		if !c.given(key) {
			continue
		}
		shares, err := setting.Traffic(c.list(key))
		if err != nil {
			return nil, usage("argument --%s: %v", key, err)
		}
		d.Put(field, shares)
	}
	if c.given("auth-mode") {
		d.Put("auth_mode", c.str("auth-mode"))
	}
	d.Put("name", name)
	if err := c.check(d, definition.Endpoint()); err != nil {
		return nil, err
	}
	e, err := c.follow(ctx, s, cloud.Request{Method: http.MethodPut, Path: path, Version: versionEndpoint, Body: wireEndpoint(d.Tree, text(there, "location"))}, "updating endpoint "+name)
	if err != nil {
		return nil, err
	}
	return showEndpoint(e), nil
}

// nameOrFile is --name, else the file's.
func (c *Call) nameOrFile() (string, error) {
	if name := c.str("name"); name != "" {
		return name, nil
	}
	d, err := definition.Load(c.str("file"))
	if err != nil {
		return "", err
	}
	if name := text(d.Tree, "name"); name != "" {
		return name, nil
	}
	return "", usage("the following arguments are required: --name/-n")
}

func endpointShow(ctx context.Context, c *Call) (any, error) {
	s, path, e, err := c.endpoint(ctx)
	if err != nil {
		return nil, err
	}
	deployments, err := s.List(ctx, path+"/deployments", versionEndpoint, nil)
	if err != nil {
		return nil, err
	}
	shown := showEndpoint(e)
	traffic := child(shown, "traffic")
	for _, item := range deployments { // those without a share have none of it
		if d, ok := item.(object); ok && traffic[text(d, "name")] == nil {
			traffic[text(d, "name")] = 0
		}
	}
	return shown, nil
}

// credentials returns what lets a client in: a token, or the keys.
func credentials(ctx context.Context, s *cloud.Session, path string, endpoint object) (object, error) {
	action := "/listKeys"
	switch strings.ToLower(text(endpoint, "properties.authMode")) {
	case "aadtoken":
		token, err := s.Token(ctx, cloud.AudienceML)
		return object{"accessToken": token.Access, "expiryTimeUtc": token.Expires.Unix(), "tokenType": "Bearer"}, err
	case "amltoken":
		action = "/token"
	}
	reply, err := s.Call(ctx, cloud.Request{Method: http.MethodPost, Path: path + action, Version: versionEndpoint})
	if err != nil {
		return nil, err
	}
	return reply.Object(), nil
}

// requestBody reads a request file; the real client takes JSON only, and sends
// it without needless space.
func requestBody(file string) ([]byte, error) {
	if file == "" {
		return []byte("{}"), nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("argument --request-file: %v", err)
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))); err != nil {
		return nil, hinted(fmt.Errorf("argument --request-file: %s is not JSON: %v", file, err), "send other bodies with curl: get-credentials gives the key, show the scoring_uri")
	}
	return compact.Bytes(), nil
}

func endpointInvoke(ctx context.Context, c *Call) (any, error) {
	body, err := requestBody(c.str("request-file"))
	if err != nil {
		return nil, err
	}
	s, path, e, err := c.endpoint(ctx)
	if err != nil {
		return nil, err
	}
	target := text(e, "properties.scoringUri")
	if target == "" {
		return nil, fmt.Errorf("the endpoint %s has no scoring address; its state is %s", c.str("name"), text(e, "properties.provisioningState"))
	}
	access, err := credentials(ctx, s, path, e)
	if err != nil {
		return nil, err
	}
	header := http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json"}, "Authorization": {"Bearer " + firstText(access, "accessToken", "primaryKey")}}
	if deployment := c.str("deployment-name"); deployment != "" {
		header.Set("azureml-model-deployment", deployment)
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	answer, err := s.Do(ctx, http.MethodPost, target, header, body)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode != http.StatusOK && answer.StatusCode != http.StatusCreated {
		err := fmt.Errorf("the endpoint answered %d: %w", answer.StatusCode, cloud.FailureOf(answer.Response, answer.Data))
		if answer.StatusCode != http.StatusFailedDependency {
			return nil, err
		}
		return nil, hinted(err, "the deployment's own words: az ml online-deployment get-logs -e %s -n DEPLOYMENT", c.str("name"))
	}
	return string(answer.Data), nil
}

func endpointCredentials(ctx context.Context, c *Call) (any, error) {
	s, path, e, err := c.endpoint(ctx)
	if err != nil {
		return nil, err
	}
	return credentials(ctx, s, path, e)
}

func endpointRegenerate(ctx context.Context, c *Call) (any, error) {
	s, path, err := endpointAt("name")(ctx, c)
	if err != nil {
		return nil, err
	}
	reply, err := s.Call(ctx, cloud.Request{Method: http.MethodPost, Path: path + "/listKeys", Version: versionEndpoint})
	if err != nil {
		return nil, err
	}
	kind, current := "Primary", text(reply.Object(), "primaryKey")
	if c.str("key-type") == "secondary" {
		kind, current = "Secondary", text(reply.Object(), "secondaryKey")
	}
	return nil, c.finish(ctx, s, cloud.Request{Method: http.MethodPost, Path: path + "/regenerateKeys", Version: versionEndpoint,
		Body: object{"keyType": kind, "keyValue": current}}, "regenerating the "+strings.ToLower(kind)+" key")
}
