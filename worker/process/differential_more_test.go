package process_test

import "strings"

// bodies makes requests that differ in their bodies alone, which are their names.
func bodies(names string) []exchange {
	var list []exchange
	for name := range strings.FieldsSeq(names) {
		list = append(list, exchange{name: name, body: name})
	}
	return list
}

// valueTable is what run() may return or raise.
func valueTable() map[string]differential {
	return map[string]differential{
		"values": {script: `
import collections, datetime, decimal, enum, sys
import numpy as np
class Number(enum.IntEnum): TWO = 2
class Letter(str, enum.Enum): B = "b"
class Data:
    def __init__(self): self.x = 1
def init(): pass
def run(data):
    if data == "deep":
        deep = []
        for _ in range(100000): deep = [deep]
        return deep
    if data == "circle":
        circle = []
        circle.append(circle)
        return circle
    return {
        "float64": lambda: np.float64(1.5), "float32": lambda: np.float32(1.5), "int64": lambda: np.int64(3), "array": lambda: np.array([1.0]),
        "list64": lambda: np.array([1.5, 2]).tolist(), "bool_": lambda: np.bool_(True), "string_": lambda: np.str_("x"),
        "infinite": lambda: [float("inf"), -float("inf")], "tiny": lambda: [1e-9, 5e-324, 0.1 + 0.2, 1e22, -0.0], "big": lambda: 2 ** 80,
        "digits": lambda: 10 ** 5000, "true": lambda: True, "list": lambda: [], "object": lambda: {}, "nested": lambda: [(1, (2,)), {"a": ()}],
        "keys": lambda: {1: "a", None: "b", True: "c", 1.5: "d"}, "tuplekey": lambda: {(1, 2): 3}, "bytekey": lambda: {b"a": 1},
        "intenum": lambda: Number.TWO, "strenum": lambda: Letter.B, "ordered": lambda: collections.OrderedDict(b=1, a=2),
        "named": lambda: collections.namedtuple("P", "x y")(1, 2), "date": lambda: datetime.datetime(2026, 1, 1), "decimal": lambda: decimal.Decimal("1.5"),
        "instance": lambda: Data(), "function": lambda: run, "generator": lambda: (n for n in [1]), "bytesin": lambda: {"a": b"x"},
        "surrogate": lambda: "\ud800", "emoji": lambda: "\U0001f600 \x7f \u2028 </script>", "escapes": lambda: "\"\\/\b\f\n\r\t\x00", "long": lambda: "y" * 300000,
        "zero": lambda: 0, "false": lambda: False, "complex": lambda: 1j, "ellipsis": lambda: ..., "response": lambda: {"status_code": 500},
    }[data]()
`, requests: bodies(`float64 float32 int64 array list64 bool_ string_ infinite tiny big digits true list object nested keys tuplekey bytekey intenum strenum
			ordered named date decimal instance function generator bytesin surrogate emoji escapes long zero false complex ellipsis response deep circle`)},
		"errors": {script: `
import sys
class Odd(Exception):
    def __str__(self): raise ValueError("no text")
def init(): pass
def run(data):
    if data == "unicode": raise ValueError("gr\u00f6\u00dfer \u2603 \ud800")
    if data == "timeout": raise TimeoutError("of the script's own")
    if data == "stop": raise StopIteration
    if data == "assert": assert False
    if data == "memory": raise MemoryError
    if data == "recursion": return run(data)
    if data == "odd": raise Odd
    if data == "chain":
        try: 1 / 0
        except ZeroDivisionError as error: raise KeyError("k") from error
    if data == "group": raise ExceptionGroup("many", [ValueError(1), KeyError(2)])
    if data == "module": import nowhere_to_be_found
    return 1
`, requests: append(bodies("unicode timeout stop assert memory recursion odd chain group module fine"), exchange{name: "get", method: "GET"})},
		"exit":      {script: "import sys\ndef init(): pass\ndef run(d): sys.exit(4)\n", requests: bodies("exit")},
		"interrupt": {script: "def init(): pass\ndef run(d): raise KeyboardInterrupt\n", requests: bodies("interrupt")},
		"base":      {script: "class Own(BaseException): pass\ndef init(): pass\ndef run(d): raise Own\n", requests: bodies("base")},
		"killed":    {script: "import os\ndef init(): pass\ndef run(d): os._exit(1)\n", requests: bodies("killed")},
		"driver": {script: "import real as driver_module\nfrom real import *\ndef run(data): raise ValueError('the driver forwards wrongly')\n",
			files: map[string]string{"real.py": "def init(): pass\ndef run(data): return ['real', data]\n"}, requests: bodies("x")},
		"main": {script: "import importlib.util, sys\ndef init(): pass\ndef run(d): return [__name__, sys.modules.get('__main__') is not None, importlib.util.find_spec('score') is not None]\n",
			requests: bodies("x")},
		"defaults": {script: "def init(): pass\ndef run(data, other=7, *, more='m'): return [data, other, more]\n",
			requests: []exchange{{name: "post", body: "x"}, {name: "get", method: "GET", target: "/score?other=1&data=2"}}},
		"keyword": {script: "def init(): pass\ndef run(*, data): return data\n", requests: bodies("x")},
		"object":  {script: "class Model:\n    def __call__(self, data): return data + '!'\ndef init(): pass\nrun = Model()\n", requests: bodies("x")},
		"models": {script: `
import json, os, pathlib
def init():
    global models
    root = pathlib.Path(os.environ["AZUREML_MODEL_DIR"])
    models = {path.parent.name: json.loads(path.read_text()) for path in sorted(root.rglob("model.json"))}
def run(data):
    wanted = json.loads(data)
    return models[wanted["model"]]["factor"] * wanted["x"]
`, files: map[string]string{"all/7/first/model.json": `{"factor": 2}`, "all/7/second/model.json": `{"factor": 3}`}, env: []string{"AZUREML_MODEL_DIR={dir}/all/7"},
			requests: []exchange{{name: "first", body: `{"model": "first", "x": 5}`}, {name: "second", body: `{"model": "second", "x": 5}`}, {name: "no such", body: `{"model": "third", "x": 5}`}}},
	}
}

// requestTable is how a request may come.
func requestTable() map[string]differential {
	get := func(name, target string) exchange { return exchange{name: name, method: "GET", target: target} }
	return map[string]differential{
		"requests": {script: "def init(): pass\ndef run(data): return data\n", requests: []exchange{
			{name: "json in capitals", body: "x", headers: []string{"Content-Type", "APPLICATION/JSON"}},
			{name: "json as latin-1", body: "h\xe4", headers: []string{"Content-Type", "application/json; charset=latin-1"}},
			{name: "mark of utf-8", body: "\xef\xbb\xbf{}"},
			{name: "utf-16", body: "\xff\xfe{\x00}\x00"},
			{name: "surrogate in utf-8", body: "\xed\xa0\x80"},
			{name: "octets", body: "\x00\x01\x7f", headers: []string{"Content-Type", "application/octet-stream"}},
			{name: "form in capitals", body: "a=1", headers: []string{"Content-Type", "Application/X-WWW-Form-Urlencoded"}},
			{name: "form of utf-8", body: "a=1", headers: []string{"Content-Type", "application/x-www-form-urlencoded; charset=utf-8"}},
			{name: "multipart", body: "--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n--b--\r\n", headers: []string{"Content-Type", "multipart/form-data; boundary=b"}},
			{name: "multipart without boundary", body: "x", headers: []string{"Content-Type", "multipart/form-data"}},
			{name: "multipart mixed", body: "x", headers: []string{"Content-Type", "multipart/mixed; boundary=b"}},
			{name: "bad type", body: "x", headers: []string{"Content-Type", ";;;"}},
			{name: "query of a post", target: "/score?a=1", body: "x"},
			{name: "body of a get", method: "GET", target: "/score?a=1", body: "x"},
			{name: "trace id of other case", body: "x", headers: []string{"traceid", "t"}},
			{name: "empty trace id", body: "x", headers: []string{"TraceId", " "}},
			{name: "patch", method: "PATCH", body: "x"},
			{name: "unknown method", method: "FOO", body: "x"},
			{name: "head swagger", method: "HEAD", target: "/swagger.json"},
			{name: "options swagger", method: "OPTIONS", target: "/swagger.json"},
			{name: "options nowhere", method: "OPTIONS", target: "/nowhere"},
			{name: "head nowhere", method: "HEAD", target: "/nowhere"},
			{name: "head with query", method: "HEAD", target: "/?x=1"},
			{name: "options with ids", method: "OPTIONS", headers: []string{"x-ms-client-request-id", "c"}},
			{name: "health with ids", method: "GET", target: "/", headers: []string{"x-ms-client-request-id", "c", "TraceId", "t"}},
			{name: "health with a long id", method: "GET", target: "/", headers: []string{"x-ms-client-request-id", strings.Repeat("i", 101)}},
			{name: "nowhere with ids", method: "GET", target: "/nowhere", headers: []string{"x-ms-client-request-id", "c"}},
			{name: "id of latin-1", body: "x", headers: []string{"x-ms-client-request-id", "\xe4"}},
			{name: "id of 100 in utf-8", body: "x", headers: []string{"x-ms-client-request-id", strings.Repeat("ä", 60)}},
			get("capitals", "/SCORE"), get("escaped path", "/%73core?a=1"), get("two slashes", "//score?a=1"), get("below", "/score/x"), get("dot", "/./score"),
			get("escaped slash", "/%2Fscore"), get("health with query", "/?a=1"),
			get("nested query", "/score?a={\"b\":[1,{}]}"), get("plus and space", "/score?a=b+c&d=e%20f&g=%2B"), get("semicolon", "/score?a=1;b=2"),
			get("text that looks like json", "/score?a=01&b=1.&c=True&d=nan&e=NaN&f=Infinity&g=%22"), get("repeated blank", "/score?a&a=&a=1"),
			get("key in brackets", "/score?a[]=1&a[]=2"), get("encoded key", "/score?%C3%A4=1&=2"), get("ampersands", "/score?&&a=1&&"), get("equals", "/score?a==1&b=c=d"),
			get("hash escaped", "/score?a=%23&b=%26&c=%3D"), get("big number", "/score?a=123456789012345678901234567890&b=1e400"),
			get("swagger twice", "/swagger.json?version=3&version=2"), get("swagger 3.10", "/swagger.json?version=3.10"), get("swagger of spaces", "/swagger.json?version=%203"),
			get("swagger of text", "/swagger.json?version=<b>"), get("swagger with other", "/swagger.json?other=3"), get("swagger with slash", "/swagger.json/"),
		}},
		"seen headers": {script: `
import json
def init(): pass
def run(data, request_headers):
    return {name: value for name, value in sorted(request_headers.items()) if name.startswith(("X-", "Content", "Accept", "User", "Dnt", "Sec")) and name != "X-Request-Id"}
`, requests: []exchange{
			{name: "digits", body: "x", headers: []string{"x-3d-model", "1", "X-Md5sum", "2", "x-1a2b", "3"}},
			{name: "capitals", body: "x", headers: []string{"X-ALL-CAPITALS", "1", "dnt", "1", "SEC-CH-UA", `"a";v="1"`}},
			{name: "underscore", body: "x", headers: []string{"X_Mine", "1"}},
			{name: "latin-1", body: "x", headers: []string{"X-Mine", "h\xe4"}},
			{name: "utf-8", body: "x", headers: []string{"X-Mine", "hä☃"}},
			{name: "spaces", body: "x", headers: []string{"X-Mine", "  a  b  "}},
			{name: "comma", body: "x", headers: []string{"X-Mine", "a, b", "X-Mine", "c"}},
			{name: "long", body: "x", headers: []string{"X-Mine", strings.Repeat("v", 4000)}},
			{name: "tab", body: "x", headers: []string{"X-Mine", "a\tb"}},
			{name: "no body"},
			{name: "options", method: "OPTIONS"},
		}},
		"schema requests": {script: schemaTable, requests: []exchange{
			{name: "null", body: `{"rows": null}`},
			{name: "twice the same key", body: `{"rows": [[1, 2]], "rows": [[3, 4]]}`},
			{name: "mark of utf-8", body: "\xef\xbb\xbf{\"rows\": [[1, 2]]}"},
			{name: "utf-16", body: "\xff\xfe{\x00}\x00"},
			{name: "number", body: "1"}, {name: "text body", body: `"rows"`}, {name: "null body", body: "null"}, {name: "spaces", body: "  \n"},
			{name: "nan", body: `{"rows": [[NaN, 1]]}`}, {name: "trailing", body: `{"rows": [[1, 2]]} x`},
			{name: "other shape", body: `{"rows": [[1, 2, 3]]}`}, {name: "flat", body: `{"rows": [1, 2]}`}, {name: "text rows", body: `{"rows": "x"}`},
			{name: "wrong factor", body: `{"rows": [[1, 2]], "factor": "x"}`}, {name: "capitals", body: `{"rows": [[1, 2]]}`, headers: []string{"Content-Type", "Application/JSON"}},
			{name: "json in another family", body: `{"rows": [[1, 2]]}`, headers: []string{"Content-Type", "text/json"}},
			{name: "options", method: "OPTIONS"}, {name: "head", method: "HEAD"}, {name: "put", method: "PUT", body: "{}"},
			get("get of all", "/score?rows=[[1,2]]&factor=4"), get("get of text", "/score?rows=x"), get("get twice", "/score?rows=[1,2]&rows=[3,4]"),
		}},
	}
}

// settingTable is what variables and config.json change.
func settingTable() map[string]differential {
	const echo = "def init(): pass\ndef run(data):\n    if data == 'raise': raise ValueError\n    return data\n"
	const sleeper = `
import time
def init(): pass
def run(data):
    if data == "sleep": time.sleep(30)
    if data == "loop":
        while True: pass
    if data == "caught":
        try: time.sleep(30)
        except TimeoutError: return "caught"
    return data
`
	from := func(name, method, target, origin string, more ...string) exchange {
		return exchange{name: name, method: method, target: target, body: "x", headers: append([]string{"Origin", origin}, more...)}
	}
	preflight := func(name, origin, method string, more ...string) exchange {
		e := from(name, "OPTIONS", "/score", origin, append([]string{"Access-Control-Request-Method", method}, more...)...)
		e.body = ""
		return e
	}
	swagger := exchange{name: "swagger", method: "GET", target: "/swagger.json"}
	return map[string]differential{
		"any origin": {script: echo, env: []string{"AML_CORS_ORIGINS=*"}, requests: []exchange{
			{name: "none", body: "x"}, from("post", "POST", "/score", "https://a.example"), from("health", "GET", "/", "https://a.example"),
			from("swagger", "GET", "/swagger.json", "https://a.example"), from("nowhere", "GET", "/nowhere", "https://a.example"), from("put", "PUT", "/score", "https://a.example"),
			preflight("preflight", "https://a.example", "POST"), preflight("preflight of headers", "https://a.example", "POST", "Access-Control-Request-Headers", "X-B, authorization,content-type"),
			preflight("preflight of delete", "https://a.example", "DELETE"), preflight("preflight in small letters", "https://a.example", "get"),
			preflight("preflight of health", "https://a.example", "GET"), {name: "options alone", method: "OPTIONS"},
		}},
		"some origins": {script: echo, env: []string{"AML_CORS_ORIGINS=https://a.example , https://b.example"}, requests: []exchange{
			{name: "none", body: "x"}, from("one", "POST", "/score", "https://a.example"), from("in capitals", "POST", "/score", "HTTPS://B.EXAMPLE"),
			from("other", "POST", "/score", "https://c.example"), preflight("preflight", "https://b.example", "POST"), preflight("preflight of another", "https://c.example", "POST"),
			{name: "raises", body: "raise", headers: []string{"Origin", "https://a.example"}},
			from("private network", "POST", "/score", "https://a.example", "Access-Control-Request-Private-Network", "true"),
			from("long id", "POST", "/score", "https://a.example", "x-ms-client-request-id", strings.Repeat("i", 101)),
		}},
		"one origin": {script: echo, env: []string{"AML_CORS_ORIGINS=https://a.example"}, requests: []exchange{
			{name: "none", body: "x"}, from("it", "POST", "/score", "https://a.example"), from("other", "POST", "/score", "https://a.example.evil"),
		}},
		"pattern of origins": {script: echo, env: []string{`AML_CORS_ORIGINS=https://.*\.example$`}, requests: []exchange{
			{name: "none", body: "x"}, from("one", "POST", "/score", "https://a.example"), from("other", "POST", "/score", "https://a.example.evil"), from("prefixed", "POST", "/score", "xhttps://a.example"),
		}},
		"no origins": {script: echo, env: []string{"AML_CORS_ORIGINS="}, requests: []exchange{from("one", "POST", "/score", "https://a.example")}},
		"timeout":    {script: sleeper, env: []string{"SCORING_TIMEOUT_MS=200"}, requests: append(bodies("sleep fine loop caught"), exchange{name: "get", method: "GET"})},
		"timeout of the file": {script: sleeper, files: map[string]string{"config.json": `{"SCORING_TIMEOUT_MS": 150, "unknown": [1]}`},
			requests: bodies("sleep fine")},
		"variables before the file": {script: sleeper, files: map[string]string{"config.json": `{"SCORING_TIMEOUT_MS": 1, "SERVICE_NAME": "of the file", "SERVICE_VERSION": "9"}`},
			env: []string{"SCORING_TIMEOUT_MS=300", "SERVICE_NAME=of the variable"}, requests: append(bodies("sleep"), swagger)},
		"file elsewhere": {script: echo, files: map[string]string{"config.json": `{"SERVICE_NAME": "wrong"}`, "set/mine.json": `{"SERVICE_NAME": "right", "SERVICE_PATH_PREFIX": "/a/b/"}`},
			env: []string{"AZUREML_CONFIG_FILE={dir}/set/mine.json"}, requests: []exchange{swagger, {name: "3", method: "GET", target: "/swagger.json?version=3"}}},
		"empty file":      {script: echo, files: map[string]string{"config.json": ""}, requests: []exchange{swagger}},
		"named service":   {script: echo, env: []string{"SERVICE_NAME=Mine & 'yours'", "SERVICE_VERSION=2.1", "SERVICE_PATH_PREFIX=api/v1"}, requests: []exchange{{name: "3.1", method: "GET", target: "/swagger.json?version=3.1"}}},
		"version unshown": {script: echo, env: []string{"SERVER_VERSION_LOG_RESPONSE_ENABLED=false"}, requests: append(bodies("x"), swagger)},
		"own version":     {script: echo, env: []string{"SERVER_VERSION_LOG_RESPONSE_ENABLED=FALSE", "HTTP_X_MS_SERVER_VERSION=mine/1"}, requests: bodies("x")},
		"source folder": {script: "import beside\ndef init(): pass\ndef run(d): return beside.name\n", files: map[string]string{"lib/beside.py": "name = 'beside'\n"},
			env: []string{"AZUREML_SOURCE_DIRECTORY=lib"}, requests: bodies("x")},
		"half a swagger": {script: echo, files: map[string]string{"swagger2.json": `{"mine": 2}`, "swagger3.1.json": `{"mine": "3.1"}`}, requests: []exchange{
			swagger, {name: "3", method: "GET", target: "/swagger.json?version=3"}, {name: "3.1", method: "GET", target: "/swagger.json?version=3.1"},
		}},
	}
}

// logTable is what a script writes, as the log shows it.
func logTable() map[string]differential {
	const script = `
import logging, sys
mine = logging.getLogger("mine")
def init():
    print("~init", 1, None)
def run(data):
    print("~print", "two", sep="-", end="!")
    print("~more\n~lines")
    print("~file", file=sys.stderr)
    mine.info("~own info")
    mine.warning("~own %s", "warning")
    logging.error("~root error")
    logging.getLogger("azmlinfsrv").info("~server's")
    sys.stdout.write("~written\n")
    logging.info("~root info")
    return data
`
	const whole = `{"version": 1, "disable_existing_loggers": false,
  "formatters": {"azmlinfsrv": {"class": "azureml_inference_server_http.log_config.AMLLogFormatter", "format": "%(asctime)s %(levelname).1s [%(process)d] %(name)s - %(message)s", "style": "%"}},
  "handlers": {"out": {"class": "logging.StreamHandler", "level": "INFO", "stream": "ext://sys.stdout", "formatter": "azmlinfsrv"}},
  "loggers": {"azmlinfsrv": {"level": "INFO", "handlers": ["out"], "propagate": false}, "gunicorn.error": {"level": "ERROR", "handlers": []}, "gunicorn.access": {"level": "ERROR", "handlers": [], "propagate": false}},
  "root": {"level": "INFO", "handlers": ["out"]}}`
	quiet := strings.ReplaceAll(whole, `"azmlinfsrv": {"level": "INFO"`, `"azmlinfsrv": {"level": "ERROR"`)
	return map[string]differential{
		"log":            {script: script, log: true, requests: bodies("a")},
		"log as set":     {script: script, log: true, requests: bodies("a b"), files: map[string]string{"logging.json": whole}},
		"log of errors":  {script: script, log: true, requests: bodies("a"), files: map[string]string{"logging.json": quiet}},
		"log of queries": {script: "def init(): pass\ndef run(d): print('~ran'); return d\n", log: true, requests: []exchange{{name: "post", target: "/score?a=%20b&c=d", body: "x"}, {name: "raises"}}},
	}
}
