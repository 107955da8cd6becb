package process_test

import (
	"maps"
	"strings"
)

// differential is a script and what is asked of it.
type differential struct {
	script   string
	files    map[string]string // in the app root
	env      []string          // {dir} in it stands for the app root
	requests []exchange
	log      bool // compare what the log has of lines with a ~, and of requests
}

// keptDifferences are those that are meant, by script and request.
func keptDifferences() map[string]string {
	const (
		route = "our text says which path or method it was, and where the script is"
		bytes = "bad input is the client's error, so 400 and not 500"
		level = "a script's logging is shown from INFO on, in the format of the server's own lines"
		shown = "what a script prints and the lines of requests are shown even if the server's own logger is quiet"
		ended = "Azure's server hides the exception behind gunicorn's 500; the instance ends here, or the answer is that of any exception"
		early = "a stream that fails before its first piece is an exception of run(), not gunicorn's 500 or an empty answer"
		kind  = "a response of Werkzeug is taken as one of Flask is"
	)
	return map[string]string{
		"requests/patch": route, "requests/unknown method": route, "requests/options nowhere": route, "requests/nowhere with ids": route,
		"requests/capitals": route, "requests/below": route, "requests/dot": route, "requests/swagger with slash": route,
		"requests of flask/delete": route, "any origin/nowhere": route, "any origin/put": route, "schema requests/put": route,
		"log/log": level, "log of errors/log": shown,
		"exit/exit": ended, "interrupt/interrupt": ended, "base/base": ended,
		"streams/nocontext": early, "streams/number": early, "werkzeug/x": kind,
		"plain/unknown": route, "plain/slash": route, "plain/put": route, "plain/delete": route,
		"plain/post health": route, "plain/post swagger": route, "raw/put": route,
		"schema/not utf-8": bytes,
	}
}

func differentialTable() map[string]differential {
	table := basicTable()
	for _, more := range []map[string]differential{valueTable(), requestTable(), settingTable(), logTable(), flaskTable(), typeTable()} {
		maps.Copy(table, more)
	}
	return table
}

func basicTable() map[string]differential {
	return map[string]differential{
		"plain": {script: plainTable, requests: plainRequests()},
		"headers": {script: `
import json
def init(): pass
def run(data, request_headers): return [data, sorted([name, value] for name, value in request_headers.items() if name != "X-Request-Id")]
`, requests: []exchange{
			{name: "post", body: "x", headers: []string{"X-Mine", "1", "x-ms-client-request-id", "c"}},
			{name: "repeated", body: "x", headers: []string{"X-Mine", "1", "X-Mine", "2"}},
			{name: "get", method: "GET", target: "/score?a=1"},
			{name: "none", headers: []string{"Content-Type", ""}},
			{name: "other type", body: "x", headers: []string{"Content-Type", "text/plain; charset=utf-8"}},
		}},
		"raw": {script: rawTable, requests: rawRequests()},
		"raw old names": {script: `
from azureml.contrib.services.aml_request import AMLRequest, rawhttp
from azureml.contrib.services.aml_response import AMLResponse
def init(): pass
@rawhttp
def run(request, request_headers=None):
    return AMLResponse({"headers": request_headers is not None, "is": issubclass(AMLRequest, type(request)) or True}, 200, json_str=True)
`, requests: []exchange{{name: "post", body: "x"}, {name: "options", method: "OPTIONS"}}},
		"schema": {script: schemaTable, requests: schemaRequests()},
		"flask": {script: `
import flask
def init(): pass
def run(data):
    if data == "json": return flask.jsonify(path=flask.request.path, method=flask.request.method)
    if data == "text": return flask.Response("text", 202, {"X-A": "b"})
    if data == "redirect": return flask.redirect("/elsewhere")
    if data == "bad": return flask.Response("bad", 502)
    if data == "abort": flask.abort(404)
    if data == "tuple": return "text", 404
    if data == "stream": return flask.Response((part for part in ["a", "b"]), mimetype="text/plain")
    if data == "cookie":
        response = flask.Response("c")
        response.set_cookie("a", "1")
        response.set_cookie("b", "2")
        return response
    return flask.make_response(b"\x00\xff", 200)
`, requests: []exchange{
			{name: "json", body: "json"}, {name: "text", body: "text"}, {name: "redirect", body: "redirect"}, {name: "bad", body: "bad"},
			{name: "abort", body: "abort"}, {name: "tuple", body: "tuple"}, {name: "stream", body: "stream"}, {name: "cookie", body: "cookie"}, {name: "bytes", body: "bytes"},
		}},
		"own swagger": {script: "def init(): pass\ndef run(data): return data\n",
			files: map[string]string{"swagger.json": `{"mine": 2}`, "swagger2.json": `{"mine": "no"}`, "swagger3.json": `{"mine": 3}`},
			requests: []exchange{
				{name: "2", method: "GET", target: "/swagger.json"}, {name: "3", method: "GET", target: "/swagger.json?version=3.0"},
				{name: "3.1", method: "GET", target: "/swagger.json?version=3.1"},
			}},
	}
}

const plainTable = `
def init(): pass
def run(data):
    if data == "raise": raise ValueError("for the log")
    if data == "none": return None
    if data == "set": return {1}
    if data == "bytes": return b"x"
    if data == "nan": return float("nan")
    if data == "text": return "h\u00e4\u2603"
    if data == "number": return 1.50
    if data == "tuple": return (1, 2)
    if data == "deep": return {"a": {"b": [None, True, "x"]}, 1: 2}
    if data == "empty": return ""
    return {"got": data}
`

func plainRequests() []exchange {
	var list []exchange
	for _, body := range []string{"raise", "none", "set", "bytes", "nan", "text", "number", "tuple", "deep", "empty"} {
		list = append(list, exchange{name: body, body: body})
	}
	get := func(name, target string) exchange { return exchange{name: name, method: "GET", target: target} }
	return append(list,
		exchange{name: "no body"},
		exchange{name: "unicode", body: "häagen ☃"},
		exchange{name: "not utf-8", body: "\xff\xfe"},
		exchange{name: "nul", body: "a\x00b"},
		exchange{name: "large", body: strings.Repeat("x", 300_000)},
		exchange{name: "text type", body: "x", headers: []string{"Content-Type", "text/plain"}},
		exchange{name: "no type", body: "x", headers: []string{"Content-Type", ""}},
		exchange{name: "form", body: "a=1", headers: []string{"Content-Type", "application/x-www-form-urlencoded"}},
		exchange{name: "client id", body: "x", headers: []string{"x-ms-client-request-id", "c-1"}},
		exchange{name: "legacy id", body: "x", headers: []string{"x-ms-request-id", "l-1"}},
		exchange{name: "both ids", body: "x", headers: []string{"x-ms-request-id", "l-1", "x-ms-client-request-id", "c-1"}},
		exchange{name: "all ids", body: "x", headers: []string{"x-request-id", "r-1", "x-ms-request-id", "l-1", "x-ms-client-request-id", "c-1"}},
		exchange{name: "request id", body: "x", headers: []string{"x-request-id", "r-1"}},
		exchange{name: "id of 100", body: "x", headers: []string{"x-ms-client-request-id", strings.Repeat("i", 100)}},
		exchange{name: "id of 101", body: "x", headers: []string{"x-ms-client-request-id", strings.Repeat("i", 101)}},
		exchange{name: "legacy id of 101", body: "x", headers: []string{"x-ms-request-id", strings.Repeat("i", 101)}},
		exchange{name: "request id of 101", body: "x", headers: []string{"x-request-id", strings.Repeat("i", 101)}},
		exchange{name: "trace id", body: "x", headers: []string{"TraceId", "t-1"}},
		get("get", "/score?a=1&b=[1,2]&c=a&d=null"),
		get("get repeated", "/score?foo=bar1&foo=bar2&x=y"),
		get("get nothing", "/score"),
		get("get escaped", "/score?a=%C3%A4+b&b=%22x%22"),
		get("get blank", "/score?a=&b"),
		get("get malformed", "/score?a=%zz&=1&&b=%FF"),
		get("get float", "/score?a=1.50&b=1e3&c=-0"),
		get("health", "/"),
		get("unknown", "/other"),
		get("slash", "/score/"),
		exchange{name: "options", method: "OPTIONS"},
		exchange{name: "put", method: "PUT", body: "x"},
		exchange{name: "delete", method: "DELETE"},
		exchange{name: "head score", method: "HEAD"},
		exchange{name: "head health", method: "HEAD", target: "/"},
		exchange{name: "post health", target: "/"},
		exchange{name: "options health", method: "OPTIONS", target: "/"},
		get("swagger", "/swagger.json"),
		get("swagger 2", "/swagger.json?version=2"),
		get("swagger 2.0", "/swagger.json?version=2.0"),
		get("swagger 3", "/swagger.json?version=3"),
		get("swagger 3.1", "/swagger.json?version=3.1"),
		get("swagger 9", "/swagger.json?version=9"),
		get("swagger of nothing", "/swagger.json?version="),
		exchange{name: "post swagger", target: "/swagger.json"},
	)
}

const rawTable = `
from azureml_inference_server_http.api.aml_request import rawhttp
from azureml_inference_server_http.api.aml_response import AMLResponse
def init(): pass
@rawhttp
def run(request):
    kind = request.args.get("kind", "echo")
    if kind == "echo": return AMLResponse(request.get_data(), 200)
    if kind == "method": return {"method": request.method, "path": request.path, "args": request.args.to_dict(), "type": request.content_type, "length": request.content_length}
    if kind == "form": return {"form": request.form.to_dict(), "files": {name: file.read().decode() for name, file in request.files.items()}}
    if kind == "json": return request.get_json()
    if kind == "header": return request.headers["X-Mine"]
    if kind == "url": return [request.full_path, request.query_string.decode()]
    if kind == "status": return AMLResponse("short and stout", 418)
    if kind == "fail": return AMLResponse("failed", 503, {"Retry-After": "7"})
    if kind == "failjson": return AMLResponse({"why": "failed"}, 500, {}, True)
    if kind == "said": return AMLResponse("x", 400, {}, False, True)
    if kind == "none": return AMLResponse(None, 200)
    if kind == "image": return AMLResponse(b"\x89PNG\xff", 200, {"Content-Type": "image/png"})
    if kind == "jsonstr": return AMLResponse({"a": [1, 2]}, 201, json_str=True)
    if kind == "jsontype": return AMLResponse({"a": 1}, 200, {"Content-Type": "application/problem+json"}, json_str=True)
    if kind == "many": return AMLResponse("x", 200, {"X-Many": "a, b,c", "X-One": "1"})
    if kind == "lower": return AMLResponse("x", 200, {"content-type": "text/plain"})
    if kind == "nocontent": return AMLResponse("", 204)
    if kind == "plain": return {"plain": True}
    if kind == "bytes": return request.data
    if kind == "raise": raise KeyError("x")
`

func rawRequests() []exchange {
	var list []exchange
	for _, kind := range strings.Fields("method url status fail failjson said none image jsonstr jsontype many lower nocontent plain bytes raise header") {
		list = append(list, exchange{name: kind, target: "/score?kind=" + kind, body: "{}", headers: []string{"X-Mine", "m"}})
	}
	boundary := "--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n--b\r\nContent-Disposition: form-data; name=\"f\"; filename=\"f.txt\"\r\nContent-Type: text/plain\r\n\r\nfile\r\n--b--\r\n"
	return append(list,
		exchange{name: "binary", body: "\x00\xff\xfe", headers: []string{"Content-Type", "application/octet-stream"}},
		exchange{name: "empty"},
		exchange{name: "get", method: "GET", target: "/score?kind=method&a=1"},
		exchange{name: "options", method: "OPTIONS", target: "/score?kind=method"},
		exchange{name: "head", method: "HEAD", target: "/score?kind=method"},
		exchange{name: "form", target: "/score?kind=form", body: "a=1&b=2", headers: []string{"Content-Type", "application/x-www-form-urlencoded"}},
		exchange{name: "multipart", target: "/score?kind=form", body: boundary, headers: []string{"Content-Type", "multipart/form-data; boundary=b"}},
		exchange{name: "json", target: "/score?kind=json", body: `{"a": 1}`},
		exchange{name: "bad json", target: "/score?kind=json", body: `{`},
		exchange{name: "put", method: "PUT", body: "x"},
	)
}

const schemaTable = `
from inference_schema.schema_decorators import input_schema, output_schema
from inference_schema.parameter_types.numpy_parameter_type import NumpyParameterType
from inference_schema.parameter_types.standard_py_parameter_type import StandardPythonParameterType
import numpy as np
def init(): pass
@input_schema("rows", NumpyParameterType(np.array([[1.0, 2.0]])))
@input_schema("factor", StandardPythonParameterType(2))
@output_schema(StandardPythonParameterType([1.0]))
def run(rows, factor=3): return (rows.sum(axis=1) * factor).tolist()
`

func schemaRequests() []exchange {
	get := func(name, target string) exchange { return exchange{name: name, method: "GET", target: target} }
	return []exchange{
		{name: "rows", body: `{"rows": [[1, 2], [3, 4]], "factor": 2}`},
		{name: "default", body: `{"rows": [[1, 2]]}`},
		{name: "more", body: `{"rows": [[1, 2]], "other": 1}`},
		{name: "missing", body: `{"factor": 2}`},
		{name: "list", body: `[[1, 2]]`},
		{name: "bad json", body: `{"rows": `},
		{name: "empty"},
		{name: "wrong rows", body: `{"rows": [["a", "b"]]}`},
		{name: "not utf-8", body: "{\"rows\": \"\xff\"}"},
		{name: "charset", body: `{"rows": [[1, 2]]}`, headers: []string{"Content-Type", "application/json; charset=utf-8"}},
		{name: "json suffix", body: `{"rows": [[1, 2]]}`, headers: []string{"Content-Type", "application/vnd.rows+json"}},
		{name: "text", body: `{"rows": [[1, 2]]}`, headers: []string{"Content-Type", "text/plain"}},
		{name: "form", body: `{"rows": [[1, 2]]}`, headers: []string{"Content-Type", "application/x-www-form-urlencoded"}},
		{name: "no type", body: `{"rows": [[1, 2]]}`, headers: []string{"Content-Type", ""}},
		get("get", "/score?rows=[[1,2]]"),
		get("get missing", "/score"),
		get("swagger 2", "/swagger.json"),
		get("swagger 3", "/swagger.json?version=3"),
		get("swagger 3.1", "/swagger.json?version=3.1"),
		get("swagger 9", "/swagger.json?version=9"),
	}
}
