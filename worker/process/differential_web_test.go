package process_test

import "strings"

// flaskTable is what Flask's users write.
func flaskTable() map[string]differential {
	kinds := func(names string) []exchange {
		var list []exchange
		for name := range strings.FieldsSeq(names) {
			list = append(list, exchange{name: name, target: "/score?kind=" + name, body: `{"a": 1}`, headers: []string{"Cookie", "one=1; two=2", "Accept", "text/html, application/json;q=0.5"}})
		}
		return list
	}
	files := "--b\r\nContent-Disposition: form-data; name=\"f\"; filename=\"a.txt\"\r\nContent-Type: text/plain\r\n\r\none\r\n--b\r\n" +
		"Content-Disposition: form-data; name=\"f\"; filename=\"b.bin\"\r\nContent-Type: application/octet-stream\r\n\r\n\x00\xff\r\n--b\r\n" +
		"Content-Disposition: form-data; name=\"t\"\r\n\r\nh\xc3\xa4\r\n--b--\r\n"
	return map[string]differential{
		"streams": {script: `
import flask, io
from azureml_inference_server_http.api.aml_response import AMLResponse
def init(): pass
def parts(count, fails=None):
    for n in range(count):
        if n == fails: raise ValueError("amid the answer")
        yield "data: %d\n\n" % n
def run(data):
    if data == "events": return flask.Response(parts(3), mimetype="text/event-stream")
    if data == "context": return flask.Response(flask.stream_with_context(flask.request.path + str(n) for n in range(3)))
    if data == "nocontext": return flask.Response(flask.request.path + str(n) for n in range(3))
    if data == "aml": return AMLResponse(parts(2), 200, {"Content-Type": "text/event-stream", "Cache-Control": "no-cache"})
    if data == "amlbad": return AMLResponse(parts(2), 503)
    if data == "bytes": return flask.Response(iter([b"\x00", b"", b"\xff"]))
    if data == "fails": return flask.Response(parts(3, fails=1))
    if data == "nothing": return flask.Response(iter([]))
    if data == "blank": return flask.Response(iter(["", "x"]))
    if data == "list": return flask.Response(["a", "b"])
    if data == "length": return flask.Response(parts(2), headers={"Content-Length": "18"})
    if data == "short": return flask.Response(parts(2), headers={"Content-Length": "20"})
    if data == "file": return flask.send_file(io.BytesIO(b"x" * 300000), mimetype="application/zip", download_name="a.zip")
    if data == "nocontent": return flask.Response(parts(2), 204)
    if data == "unmodified": return flask.Response(parts(2), 304)
    if data == "number": return flask.Response(iter([1, 2]))
    if data == "etag":
        response = flask.Response("x")
        response.add_etag()
        return response
`, requests: bodies("events context nocontext aml amlbad bytes fails nothing blank list length short file nocontent unmodified number etag")},
		"requests of flask": {script: `
import flask
from azureml_inference_server_http.api.aml_request import AMLRequest, rawhttp
def init(): pass
@rawhttp
def run(request):
    kind = request.args.get("kind")
    if kind == "same": return [request is not flask.request, isinstance(request, flask.Request), type(request).__name__]
    if kind == "url": return [request.path, request.base_url.replace(request.host, "HOST"), request.scheme, request.root_path, request.is_secure, request.script_root]
    if kind == "route": return [request.endpoint, request.blueprint, str(request.url_rule), request.view_args]
    if kind == "cookies": return dict(request.cookies)
    if kind == "accept": return [request.accept_mimetypes.best, request.user_agent.string, request.remote_addr]
    if kind == "type": return [request.mimetype, request.is_json, request.content_length, request.content_encoding]
    if kind == "stream": return [request.stream.read(3).decode(), request.stream.read().decode()]
    if kind == "silent": return [request.get_json(silent=True), request.get_json(force=True)]
    if kind == "data": return [request.get_data(as_text=True), request.data.decode(), request.json]
    if kind == "twice": return [request.get_data(cache=False).decode(), request.get_data().decode()]
    if kind == "values": return request.values.to_dict()
    if kind == "missing": return request.args["nothing"]
    if kind == "nofile": return request.files["nothing"].filename
    if kind == "g":
        flask.g.x = 1
        return flask.g.x
    if kind == "list": return [request.args.getlist("kind"), request.full_path, request.query_string.decode()]
    if kind == "headers": return [request.headers.get("x-missing"), "Cookie" in request.headers, request.headers["content-type"], len(request.headers.getlist("Cookie"))]
    if kind == "environ": return [request.environ["wsgi.url_scheme"], request.environ["SERVER_PROTOCOL"], request.environ["PATH_INFO"], request.environ["SCRIPT_NAME"], request.environ["REQUEST_METHOD"]]
    if kind == "jsonify": return flask.jsonify(b=1, a=[1, 2], text="h\u00e4")
    if kind == "pretty": return flask.jsonify({"n": None})
    if kind == "abort": flask.abort(418)
    if kind == "tuple": return {"a": 1}, 201, {"X-A": "b"}
    if kind == "later":
        response = flask.make_response("x", 203, {"X-A": "1"})
        response.headers.add("X-A", "2")
        response.delete_cookie("gone")
        return response
    if kind == "status": return flask.Response("x", "299 Odd")
    if kind == "failedheader": return flask.Response("x", 500, {"x-ms-run-function-failed": "False"})
    if kind == "ids": return flask.Response("x", 200, {"x-ms-request-id": "mine", "x-request-id": "mine", "x-ms-server-version": "mine", "x-ms-run-fn-exec-ms": "7"})
    if kind == "vary": return flask.Response("x", 200, {"Vary": "Accept"})
    if kind == "lines": return flask.Response("x", 200, [("X-A", "1"), ("X-A", "2"), ("x-b", "\u00e4")])
    if kind == "after":
        @flask.after_this_request
        def add(response):
            response.headers["X-After"] = "yes"
            return response
        return "x"
    if kind == "files": return [[file.filename, file.mimetype, len(file.read())] for file in request.files.getlist("f")] + [request.form["t"], request.form.getlist("t")]
`, requests: append(kinds("same url route cookies accept type stream silent data twice values missing nofile g list headers environ jsonify pretty abort tuple later status failedheader ids vary lines after"),
			exchange{name: "files", target: "/score?kind=files", body: files, headers: []string{"Content-Type", "multipart/form-data; boundary=b"}},
			exchange{name: "form values", target: "/score?kind=values&a=1", body: "b=2&b=3&c=%C3%A4", headers: []string{"Content-Type", "application/x-www-form-urlencoded"}},
			exchange{name: "empty json", target: "/score?kind=data", body: ""},
			exchange{name: "delete", method: "DELETE", target: "/score?kind=url"},
			exchange{name: "head stream", method: "HEAD", target: "/score?kind=jsonify"},
			exchange{name: "get with kind", method: "GET", target: "/score?kind=list&kind=b"},
		)},
		"late flask": {script: "def init(): pass\ndef run(data):\n    import flask\n    return flask.jsonify(path=flask.request.path)\n", requests: bodies("first second")},
		"werkzeug":   {script: "def init(): pass\ndef run(data):\n    from werkzeug.wrappers import Response\n    return Response('x')\n", requests: bodies("x")},
		"two modules": {script: `
from azureml.contrib.services.aml_request import AMLRequest as OldRequest, rawhttp as old
from azureml_inference_server_http.api.aml_request import AMLRequest, rawhttp
from azureml.contrib.services.aml_response import AMLResponse
def init(): pass
@rawhttp
def run(request): return AMLResponse({"same": old is rawhttp, "request": OldRequest is AMLRequest}, 200, {}, json_str=True)
`, requests: bodies("x")},
	}
}

// typeTable is the parameter types of inference-schema.
func typeTable() map[string]differential {
	swaggers := []exchange{
		{name: "swagger 2", method: "GET", target: "/swagger.json"}, {name: "swagger 3", method: "GET", target: "/swagger.json?version=3"},
		{name: "swagger 3.1", method: "GET", target: "/swagger.json?version=3.1"},
	}
	const head = `
from inference_schema.schema_decorators import input_schema, output_schema
from inference_schema.parameter_types.numpy_parameter_type import NumpyParameterType
from inference_schema.parameter_types.pandas_parameter_type import PandasParameterType
from inference_schema.parameter_types.standard_py_parameter_type import StandardPythonParameterType
import datetime
import numpy as np, pandas as pd
def init(): pass
`
	return map[string]differential{
		"pandas": {script: head + `
frame = pd.DataFrame({"n": [1, 2], "x": [0.5, 1.5], "t": ["a", "b"], "b": [True, False]})
@input_schema("data", PandasParameterType(frame, enforce_shape=False))
@output_schema(StandardPythonParameterType({"sum": 1.0, "names": ["n"]}))
def run(data): return {"sum": float(data.n.sum()), "names": list(map(str, data.columns)), "types": [str(t) for t in data.dtypes]}
`, requests: append([]exchange{
			{name: "records", body: `{"data": [{"n": 1, "x": 2.5, "t": "a", "b": true}]}`},
			{name: "more rows", body: `{"data": [{"n": 1, "x": 2, "t": "a", "b": true}, {"n": 2, "x": 2, "t": "c", "b": false}, {"n": 3, "x": 2, "t": "a", "b": true}]}`},
			{name: "split", body: `{"data": {"columns": ["n", "x", "t", "b"], "index": [0], "data": [[1, 2.5, "a", true]]}}`},
			{name: "wrong column", body: `{"data": [{"m": 1}]}`}, {name: "wrong type", body: `{"data": [{"n": "x", "x": "y", "t": 1, "b": 2}]}`},
			{name: "none", body: `{"data": []}`}, {name: "text", body: `{"data": "x"}`},
		}, swaggers...)},
		"split pandas": {script: head + `
frame = pd.DataFrame({"n": [1, 2]}, index=["a", "b"])
@input_schema("data", PandasParameterType(frame, orient="split"))
@output_schema(PandasParameterType(frame))
def run(data): return data.to_dict(orient="split")
`, requests: append([]exchange{
			{name: "split", body: `{"data": {"columns": ["n"], "index": ["a", "b"], "data": [[1], [2]]}}`}, {name: "records", body: `{"data": [{"n": 1}, {"n": 2}]}`},
		}, swaggers...)},
		"standard": {script: head + `
@input_schema("text", StandardPythonParameterType("a"))
@input_schema("whole", StandardPythonParameterType(1))
@input_schema("real", StandardPythonParameterType(1.5))
@input_schema("flag", StandardPythonParameterType(True))
@input_schema("many", StandardPythonParameterType([1, 2]))
@input_schema("some", StandardPythonParameterType({"a": [1.5], "b": {"c": None}}))
@input_schema("when", StandardPythonParameterType(datetime.date(2026, 1, 2)))
@output_schema(StandardPythonParameterType([1]))
def run(text, whole, real, flag=False, many=None, some=None, when=None): return [text, whole, real, flag, many, some, str(when)]
`, requests: append([]exchange{
			{name: "all", body: `{"text": "t", "whole": 2, "real": 2.5, "flag": true, "many": [3], "some": {"a": [1], "b": {"c": 2}}, "when": "2025-05-06"}`},
			{name: "some", body: `{"text": "t", "whole": 2, "real": 2.5}`}, {name: "other types", body: `{"text": 1, "whole": "x", "real": [], "flag": 0, "many": {}, "some": 1, "when": "2025-05-06"}`},
			{name: "no date", body: `{"text": "t", "whole": 2, "real": 2.5, "when": "soon"}`},
		}, swaggers...)},
		"nested": {script: head + `
inner = StandardPythonParameterType({
    "rows": NumpyParameterType(np.array([[1, 2]])), "frame": PandasParameterType(pd.DataFrame({"n": [1]})), "plain": StandardPythonParameterType(1.5)})
listed = StandardPythonParameterType([NumpyParameterType(np.array([1.0])), StandardPythonParameterType("a")])
@input_schema("Inputs", inner)
@input_schema("GlobalParameters", StandardPythonParameterType({"method": "predict"}))
@input_schema("listed", listed)
@output_schema(StandardPythonParameterType({"Results": [1.0]}))
def run(Inputs, GlobalParameters=None, listed=None):
    return {"rows": type(Inputs["rows"]).__name__, "frame": type(Inputs["frame"]).__name__, "plain": Inputs["plain"], "global": GlobalParameters, "listed": [type(x).__name__ for x in listed or []]}
`, requests: append([]exchange{
			{name: "all", body: `{"Inputs": {"rows": [[3, 4]], "frame": [{"n": 2}], "plain": 2.5}, "GlobalParameters": {"method": "x"}, "listed": [[2.0], "b"]}`},
			{name: "inputs", body: `{"Inputs": {"rows": [[3, 4]], "frame": [{"n": 2}], "plain": 2.5}}`},
			{name: "a part", body: `{"Inputs": {"rows": [[3, 4]]}, "listed": [[2.0], "b"]}`}, {name: "wrong", body: `{"Inputs": [1]}`},
		}, swaggers...)},
		"numpy types": {script: head + `
@input_schema("b", NumpyParameterType(np.array([True])))
@input_schema("i", NumpyParameterType(np.array([[1, 2]], dtype=np.int32), enforce_shape=False))
@input_schema("f", NumpyParameterType(np.array([1.5], dtype=np.float32)))
@input_schema("t", NumpyParameterType(np.array(["2026-01-01"], dtype="datetime64[D]"), apply_timeformat=False) if False else NumpyParameterType(np.array(["a"])))
@output_schema(NumpyParameterType(np.array([[1.0]])))
def run(b, i, f, t): return [str(x.dtype) for x in (b, i, f)] + [list(i.shape)] + f.tolist() + t.tolist()
`, requests: append([]exchange{
			{name: "all", body: `{"b": [false], "i": [[1, 2], [3, 4]], "f": [2.5], "t": ["x"]}`}, {name: "floats for ints", body: `{"b": [1], "i": [[1.7, 2]], "f": [2], "t": [1]}`},
			{name: "ragged", body: `{"b": [true], "i": [[1, 2], [3]], "f": [1], "t": ["x"]}`},
		}, swaggers...)},
		"kept as given": {script: head + `
@input_schema("rows", NumpyParameterType(np.array([[1, 2]])), convert_to_provided_type=False)
def run(rows): return [type(rows).__name__, rows]
`, requests: append([]exchange{{name: "rows", body: `{"rows": [[1, 2]]}`}}, swaggers...)},
		"only output": {script: head + `
@output_schema(NumpyParameterType(np.array([1.0, 2.0])))
def run(data): return data
`, requests: append([]exchange{{name: "text", body: `{"a": 1}`}, {name: "named", body: `{"data": "x"}`}}, swaggers...)},
		"schema and headers": {script: head + `
@input_schema("x", StandardPythonParameterType(1))
def run(x, request_headers): return [x, request_headers["X-Mine"]]
`, requests: append([]exchange{{name: "both", body: `{"x": 5}`, headers: []string{"X-Mine", "m"}}, {name: "none", body: `{"x": 5}`}}, swaggers...)},
		"schema and response": {script: head + `
from azureml_inference_server_http.api.aml_response import AMLResponse
@input_schema("x", StandardPythonParameterType(1))
def run(x): return AMLResponse({"x": x}, 202, {"X-A": "b"}, json_str=True)
`, requests: []exchange{{name: "post", body: `{"x": 5}`}, {name: "get", method: "GET", target: "/score?x=6"}}},
	}
}
