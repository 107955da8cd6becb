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

	"lapis/worker"
)

const maxSwagger = 4 << 20

// swaggerFiles names, for each version a client may ask for, the user's own
// files that answer it, the best first.
func swaggerFiles(version string) []string {
	switch version {
	case "", "2", "2.0":
		return []string{"swagger2.json", "swagger.json"}
	case "3", "3.0", "3.1":
		return []string{"swagger3.json"}
	}
	return nil
}

// serveSwagger gives the user's description of the script, else a plain one.
func (i *instance) serveSwagger(_ context.Context, req *exchange) (*worker.Response, error) {
	query, err := url.ParseQuery(req.RawQuery)
	if err != nil {
		return failed(message(http.StatusBadRequest, "The query is malformed: "+err.Error()), false), nil
	}
	version := query.Get("version")
	files := swaggerFiles(version)
	if files == nil {
		return failed(message(http.StatusNotFound, fmt.Sprintf("Swagger version [%s] is not valid. Supported versions: [2, 3, 3.1].", version)), false), nil
	}
	resp := &worker.Response{Status: http.StatusOK, Header: http.Header{"Content-Type": {json8}}}
	if resp.Body, err = ownSwagger(i.spec.Dir, files); err != nil {
		if resp.Body, err = json.Marshal(plainSwagger(slices.Contains(files, "swagger3.json"))); err != nil {
			return nil, err
		}
	}
	return failed(resp, false), nil
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

// plainSwagger describes a script whose input and output nobody has described.
func plainSwagger(three bool) object {
	schema := object{"type": "object", "example": object{}}
	info := object{"title": "ML service", "version": "1.0", "description": "API of a scoring script"}
	health := object{"get": object{"operationId": "ServiceHealthCheck", "description": "Answers Healthy when init() has returned",
		"responses": object{"200": object{"description": "Healthy"}}}}
	score := object{"operationId": "RunMLService", "description": "Calls run() of the scoring script"}
	if three {
		content := func(name string) object {
			return object{json8: object{"schema": object{"$ref": "#/components/schemas/" + name}}}
		}
		score["requestBody"] = object{"content": content("ServiceInput")}
		score["responses"] = object{"200": object{"description": "What run() returned", "content": content("ServiceOutput")}}
		return object{"openapi": "3.0.3", "info": info,
			"paths": object{"/": health, "/score": object{"post": score}},
			"components": object{"schemas": object{"ServiceInput": schema, "ServiceOutput": schema},
				"securitySchemes": object{"Bearer": object{"type": "apiKey", "name": "Authorization", "in": "header"}}},
			"security": []object{{"Bearer": []string{}}}}
	}
	score["parameters"] = []object{{"name": "serviceInputPayload", "in": "body", "schema": object{"$ref": "#/definitions/ServiceInput"}}}
	score["responses"] = object{"200": object{"description": "What run() returned", "schema": object{"$ref": "#/definitions/ServiceOutput"}}}
	return object{"swagger": "2.0", "info": info, "schemes": []string{"https"}, "consumes": []string{json8}, "produces": []string{json8},
		"securityDefinitions": object{"Bearer": object{"type": "apiKey", "name": "Authorization", "in": "header"}},
		"security":            []object{{"Bearer": []string{}}},
		"paths":               object{"/": health, "/score": object{"post": score}},
		"definitions":         object{"ServiceInput": schema, "ServiceOutput": schema}}
}
