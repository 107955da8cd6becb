"""HTTP for scripts that ask for it: @rawhttp, AMLRequest and AMLResponse, flask.request.

The modules that such scripts import are here under their names, but empty:
nothing is loaded until a name of theirs is used. Flask is the user's own.
"""

from __future__ import annotations

import codecs
import io
import json
import logging
import sys
from types import ModuleType
from typing import Any, Callable, Iterable, Iterator
from urllib.parse import parse_qs, urlsplit

NEEDS_FLASK = "The scoring script uses raw HTTP, which needs Flask. Add flask to the environment's conda file."

FILE_PIECE = 256 << 10

logger = logging.getLogger("azmlinfsrv")


class _State:
    raw = False  # @rawhttp was used


def rawhttp(function: Callable[..., Any]) -> Callable[..., Any]:
    """Have run() get the whole request."""
    _State.raw = True
    return function


def wanted() -> bool:
    """Tell whether run() is to get the whole request."""
    return _State.raw


def _flask() -> Any:
    try:
        import flask
    except ImportError as error:
        raise ImportError(f"{NEEDS_FLASK} ({error})") from None
    return flask


def _request_class() -> type:
    class AMLRequest(_flask().Request):
        def __init__(self) -> None:
            super().__init__({})

    return AMLRequest


def _response_class() -> type:
    class AMLResponse(_flask().Response):
        """A response; a comma in a header's value divides the values of several headers of that name."""

        def __init__(
            self,
            message: Any,
            status_code: int,
            response_headers: dict[str, str] | None = None,
            json_str: bool = False,
            run_function_failed: bool = False,
        ) -> None:
            given = response_headers or {}
            if message is None or json_str:
                text = json.dumps({} if message is None else message)
                super().__init__(text, status=status_code, mimetype="application/json")
            else:
                super().__init__(message, status=status_code)
                if "Content-Type" in given:
                    self.headers.remove("Content-Type")
            self.headers["x-ms-run-function-failed"] = str(run_function_failed)
            for name, values in given.items():
                for value in values.split(","):
                    self.headers.add(name, value.strip())

    return AMLResponse


class _Late(ModuleType):
    """A module whose names are made when they are first used."""

    def __init__(self, name: str, makers: dict[str, Callable[[], Any]]) -> None:
        super().__init__(name)
        self.__dict__.update(_makers=makers, __all__=list(makers))

    def __getattr__(self, name: str) -> Any:
        maker = self.__dict__["_makers"].get(name)
        if maker is None:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        value = self.__dict__[name] = maker()
        return value


def offer() -> None:
    """Make the modules known."""
    request = {"rawhttp": lambda: rawhttp, "AMLRequest": _request_class}
    response = {"AMLResponse": _response_class}
    for name, makers in (("aml_request", request), ("aml_response", response)):
        module = _Late("azureml_inference_server_http.api." + name, makers)
        sys.modules[module.__name__] = sys.modules["azureml.contrib.services." + name] = module


class Web:
    """Requests and responses of Flask."""

    def __init__(self) -> None:
        flask = _flask()
        self.request = flask.request  # of the context that is open
        self._app = flask.Flask("scoring", static_folder=None)
        self._app.add_url_rule("/score", "main.handle_score", methods=["GET", "POST", "OPTIONS"])

    def context(self, meta: dict[str, Any], body: bytes) -> Any:
        """Open what flask.request needs; the request is its attribute request."""
        return self._app.request_context(_environ(meta, body))

    def after(self, context: Any, output: Any) -> Any:
        """Do what the script has asked of Flask for after this request."""
        functions = getattr(context, "_after_request_functions", None)
        if not functions:
            return output
        if not is_response(output):
            known = sys.modules["azureml_inference_server_http.api.aml_response"]
            output = known.AMLResponse(output, 200, json_str=True)
        for function in functions:
            output = self._app.ensure_sync(function)(output)
        return output


def _environ(meta: dict[str, Any], body: bytes) -> dict[str, Any]:
    """Build WSGI's view of a request."""
    headers = meta.get("headers", {})
    address = urlsplit("//" + headers.get("Host", "localhost"))
    environ = {
        "REQUEST_METHOD": meta.get("method", "POST"),
        "SCRIPT_NAME": "",
        "PATH_INFO": meta.get("path", "/score"),
        "QUERY_STRING": meta.get("query", ""),
        "SERVER_NAME": address.hostname or "localhost",
        "SERVER_PORT": str(address.port or 80),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": False,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    for name, value in headers.items():
        key = name.upper().replace("-", "_")
        environ[key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else "HTTP_" + key] = value
    return environ


def query(text: str) -> dict[str, Any]:
    """Read a GET's query: a value that is JSON is taken as that, any other as a text; a repeated name is a list."""
    codecs.register_error("lapis.escape", _escape)
    found: dict[str, Any] = {}
    for name, values in parse_qs(text, keep_blank_values=True, errors="lapis.escape").items():
        read = [_value(value) for value in values]
        found[name] = read[0] if len(read) == 1 else read
    return found


def _escape(error: UnicodeError) -> tuple[str, int]:
    """Leave bytes that are not UTF-8 as they came."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "".join(f"%{byte:02X}" for byte in error.object[error.start : error.end]), error.end


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


class Broken(Exception):
    """What makes the body of a response has failed before its first piece."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__(str(cause))
        self.cause = cause


class Pieces:
    """The rest of a body that is made while it is sent."""

    def __init__(self, parts: Iterator[bytes], close: Callable[[], Any]) -> None:
        self._parts, self._close = parts, close

    def __iter__(self) -> Iterator[bytes]:
        return self._parts

    def close(self) -> None:
        """End what makes the body, which a generator sees as GeneratorExit."""
        try:
            self._close()
        except Exception as error:
            logger.error("The answer's close() failed: %s: %s", type(error).__name__, error)


def is_response(output: Any) -> bool:
    """Tell a response, of Flask or of the same kind, from data."""
    return hasattr(output, "get_data") and hasattr(output, "status_code")


def unpack(output: Any, environ: dict[str, Any] | None) -> tuple[int, bytes, list[Any], Pieces | None]:
    """Take a response that run() has returned apart: status, body, headers, and what follows if it is a stream."""
    status = int(output.status_code)
    finished = getattr(output, "get_wsgi_headers", None)
    if getattr(output, "is_streamed", False):
        body, rest = _begin(output, environ)
    else:
        body, rest = output.get_data(), None
    headers = finished(environ) if finished is not None and environ is not None else output.headers
    pairs = [[str(name), str(value)] for name, value in headers.items()]
    if rest is None and hasattr(output, "close"):
        output.close()
    if status in (204, 304):
        body = b""
    return status, body, pairs, rest


def _begin(output: Any, environ: dict[str, Any] | None) -> tuple[bytes, Pieces | None]:
    """Make the first piece of a streamed body, so that a failure until then is still an error of the request."""
    made = output.iter_encoded() if environ is None else output.get_app_iter(environ)
    parts = _gathered(made) if getattr(output, "direct_passthrough", False) else iter(made)
    rest = Pieces(parts, getattr(made, "close", output.close))
    try:
        for first in parts:
            if first:
                return first, rest
    except Exception as error:
        rest.close()
        raise Broken(error) from None
    rest.close()
    return b"", None


def _gathered(parts: Iterable[bytes]) -> Iterator[bytes]:
    """Join the small pieces of a file, for which nobody waits one by one."""
    joined, size = [], 0
    for part in parts:
        joined.append(part)
        size += len(part)
        if size >= FILE_PIECE:
            yield b"".join(joined)
            joined, size = [], 0
    yield b"".join(joined)
