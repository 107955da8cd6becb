package process

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"

	"lapis/worker"
)

const maxSwagger = 4 << 20

// schemas describe the input and output of a script, as inference-schema
// gives them, and name the versions of Swagger that can express them.
type schemas struct {
	Input    any
	Output   any
	Versions []string
}

// dialect is a version of Swagger, or of OpenAPI as it is called from 3 on.
type dialect struct {
	name    string
	aliases []string
	files   []string // the user's own that answer it, the best first
}

func dialects() []dialect {
	return []dialect{
		{"2", []string{"2", "2.0"}, []string{"swagger.json", "swagger2.json"}},
		{"3", []string{"3", "3.0"}, []string{"swagger3.json"}},
		{"3.1", []string{"3.1"}, []string{"swagger3.1.json"}},
	}
}

// serveSwagger gives the user's description of the script, else one made of
// its schemas, else a plain one.
func (i *instance) serveSwagger(_ context.Context, req *exchange) (*worker.Response, error) {
	query, err := url.ParseQuery(req.RawQuery)
	if err != nil {
		return failed(message(http.StatusBadRequest, "The query is malformed: "+err.Error()), false), nil
	}
	version := "2"
	if given, there := query["version"]; there {
		version = given[0]
	}
	described := i.described().Swagger
	known, supported := false, []string{}
	for _, d := range dialects() {
		usable := described == nil || slices.ContainsFunc(d.aliases, func(alias string) bool { return slices.Contains(described.Versions, alias) })
		asked := slices.Contains(d.aliases, version)
		own, err := ownSwagger(i.spec.Dir, d.files)
		if err == nil || usable {
			supported = append(supported, d.name)
		}
		known = known || asked
		if !asked || (err != nil && !usable) {
			continue
		}
		if err != nil {
			own, err = json.Marshal(i.swagger(d.name, described))
		}
		resp := &worker.Response{Status: http.StatusOK, Header: worker.Header{{Name: "Content-Type", Value: json8}}, Body: own}
		return failed(resp, false), err
	}
	list := strings.Join(supported, ", ")
	text := fmt.Sprintf("Swagger version [%s] is not valid. Supported versions: [%s].", version, list)
	if known {
		text = fmt.Sprintf("Swagger version [%s] is not supported for the scoring script. Supported swagger versions: [%s].", version, list)
	}
	return failed(message(http.StatusNotFound, text), false), nil
}

// ownSwagger reads the first of the files that is in the app root.
func ownSwagger(dir string, files []string) ([]byte, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	for _, name := range files {
		file, openErr := root.Open(name)
		if openErr != nil {
			err = openErr
			continue
		}
		data, readErr := io.ReadAll(io.LimitReader(file, maxSwagger))
		file.Close()
		if readErr == nil && json.Valid(data) {
			return data, nil
		}
		err = fmt.Errorf("%s is not JSON", name)
	}
	return nil, err
}

type object = map[string]any

// swagger describes a script's routes in one of the dialects.
func (i *instance) swagger(version string, described *schemas) object {
	var in, out any = object{"type": "object", "example": object{}}, object{"type": "object", "example": object{}}
	if described != nil {
		in, out = described.Input, described.Output
	}
	given := i.described().Settings
	name, prefix := given.Name, given.Prefix
	if prefix != "" {
		prefix = "/" + strings.Trim(prefix, "/")
	}
	top := object{"info": object{"title": name, "version": given.Version, "description": "Routes of the scoring service " + name}}
	bearer := object{"Bearer": object{"type": "apiKey", "name": "Authorization", "in": "header", "description": "Bearer and the endpoint's key or a token"}}
	types := object{"ServiceInput": in, "ServiceOutput": out,
		"ErrorResponse": object{"type": "object", "properties": object{"message": object{"type": "string"}}}}
	var w words
	if version == "2" {
		top["swagger"], top["schemes"], top["consumes"], top["produces"] = "2.0", []string{"https"}, []string{json8}, []string{json8}
		top["securityDefinitions"], top["definitions"] = bearer, types
		w = words2()
	} else {
		top["openapi"] = map[string]string{"3": "3.0.3", "3.1": "3.1.0"}[version]
		top["security"] = []object{{"Bearer": []string{}}}
		top["components"] = object{"schemas": types, "securitySchemes": bearer}
		w = words3()
	}
	failure := w.answer("It failed", json8, w.ref("ErrorResponse"), nil)
	top["paths"] = object{
		prefix + "/": object{"get": object{"operationId": "ServiceHealthCheck", "description": "Answers when init() has returned",
			"responses": object{"200": w.healthy(), "default": failure}}},
		prefix + "/score": object{"post": w.takes(object{"operationId": "RunMLService", "description": "Calls run()",
			"security":  []object{{"Bearer": []string{}}},
			"responses": object{"200": w.answer("What run() returned", json8, w.ref("ServiceOutput"), nil), "default": failure}})},
		prefix + "/swagger.json": object{"get": object{"operationId": "GetSwaggerSpec", "description": "Gives this description",
			"parameters": []object{w.version()},
			"responses":  object{"200": w.answer("This description", "text/plain", object{"type": "string"}, nil), "default": failure}}},
	}
	return top
}

// words are the places where the dialects put the same things.
type words struct {
	ref     func(name string) object
	answer  func(description, kind string, schema, examples object) object
	healthy func() object
	takes   func(operation object) object
	version func() object
}

func words2() words {
	w := words{ref: func(name string) object { return object{"$ref": "#/definitions/" + name} }}
	w.answer = func(description, _ string, schema, examples object) object {
		answer := object{"description": description, "schema": schema}
		if examples != nil {
			answer["examples"] = examples
		}
		return answer
	}
	w.healthy = func() object {
		return w.answer("Healthy", "", object{"type": "string"}, object{json8: "Healthy"})
	}
	w.takes = func(operation object) object {
		operation["parameters"] = []object{{"name": "serviceInputPayload", "in": "body", "description": "The input of run()", "schema": w.ref("ServiceInput")}}
		return operation
	}
	w.version = func() object {
		return object{"name": "version", "in": "query", "required": false, "type": "integer", "enum": []int{2, 3}}
	}
	return w
}

func words3() words {
	w := words{ref: func(name string) object { return object{"$ref": "#/components/schemas/" + name} }}
	content := func(kind string, schema object) object { return object{kind: object{"schema": schema}} }
	w.answer = func(description, kind string, schema, _ object) object {
		return object{"description": description, "content": content(kind, schema)}
	}
	w.healthy = func() object {
		return w.answer("Healthy", "text/plain", object{"type": "string", "example": "Healthy"}, nil)
	}
	w.takes = func(operation object) object {
		operation["requestBody"] = object{"description": "The input of run()", "content": content(json8, w.ref("ServiceInput"))}
		return operation
	}
	w.version = func() object {
		return object{"name": "version", "in": "query", "required": false, "schema": object{"type": "integer", "enum": []int{2, 3}}}
	}
	return w
}
