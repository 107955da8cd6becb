"""The user's scoring script: how it is found, checked and called."""

from __future__ import annotations

import importlib.util
import inspect
import json
import logging
import os
import signal
import sys
import traceback
from types import ModuleType, TracebackType
from typing import Any, Callable

from . import web
from .settings import NO_LIMIT, Settings

IMPORT_ERROR = "UserScriptImportError"
INIT_FAILED = "UserScriptInitFailed"
NOT_FOUND = "UserScriptFunctionNotFound"
TRACE_LIMIT = 48 << 10

SWAGGER_LIMIT = 512 << 10

logger = logging.getLogger("azmlinfsrv.user_script")


class Failure(Exception):
    """The script cannot serve. Ends the instance before it is ready."""

    def __init__(self, stage: str, code: str, message: str, cause: BaseException | None = None) -> None:
        super().__init__(message)
        self.stage, self.code = stage, code
        self.kind = type(cause).__name__ if cause else ""
        self.trace = user_trace(cause) if cause else ""


class BadInput(Exception):
    """The request does not fit the script: the status and the message of the answer."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def user_trace(error: BaseException) -> str:
    """Return the traceback without our own frames; the end is what matters if it is long."""
    ours = os.path.dirname(os.path.abspath(__file__))
    step: TracebackType | None = error.__traceback__
    while step is not None and (step.tb_frame.f_code.co_filename.startswith((ours, "<frozen importlib"))):
        step = step.tb_next
    text = "".join(traceback.format_exception(type(error), error, step))
    return text if len(text) <= TRACE_LIMIT else "[...]\n" + text[-TRACE_LIMIT:]


def said(error: BaseException) -> str:
    """Describe an exception in one line or a few: its type and what it says."""
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


class Script:
    """A loaded script: init() to call once, call() for each request."""

    def __init__(self, init: Callable[[], Any], run: Callable[..., Any], timeout_ms: int) -> None:
        self._init, self.timeout_ms = init, timeout_ms
        self.run = run if timeout_ms >= NO_LIMIT else _limited(run, timeout_ms / 1000)
        self._function = run
        self._schema = _schema_decorated(run)
        self._flask_later = "flask" in getattr(getattr(run, "__code__", None), "co_names", ())
        try:
            parameters = list(inspect.signature(run).parameters.values())
        except (TypeError, ValueError) as error:
            raise Failure("import", NOT_FOUND, f"run is not a function that can be called: {error}") from None
        plain = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        if any(parameter.kind not in plain for parameter in parameters):
            raise Failure("import", IMPORT_ERROR, "run() must not take positional-only parameters, *args or **kwargs.")
        self.wants_headers = any(parameter.name == "request_headers" for parameter in parameters)
        self.raw = web.wanted()
        self.web: web.Web | None = None
        if self.raw and self._schema:
            raise Failure("import", IMPORT_ERROR, "run() cannot be under both @rawhttp and @input_schema.")
        self._parameters = [parameter for parameter in parameters if parameter.name != "request_headers"]
        if not self._parameters:
            raise Failure("import", IMPORT_ERROR, "run() takes no parameter for the input data. Write it as run(data).")
        self.first = self._parameters[0].name

    def init(self) -> None:
        logger.info("Calling init()")
        try:
            self._init()
        except SystemExit as error:
            if getattr(error, "by_supervisor", False):
                raise
            message = f"init() called sys.exit({'' if error.code is None else repr(error.code)})."
            raise Failure("init", INIT_FAILED, message, error) from None
        except BaseException as error:
            raise Failure("init", INIT_FAILED, f"init() raised {said(error)}", error) from None
        logger.info("init() has returned")

    def finish(self) -> None:
        """Look, after init(), what the script wants with its requests."""
        if self.raw or "flask" in sys.modules or self._flask_later:
            try:
                self.web = web.Web()
            except ImportError as error:
                if self.raw or "flask" in sys.modules:
                    raise Failure("import", IMPORT_ERROR, str(error)) from None
        self.wants_meta = self.wants_headers or self._schema or self.web is not None
        self.plain = not self.wants_meta

    def swagger(self) -> dict[str, Any] | None:
        """Return the schemas of @input_schema and @output_schema, with the versions of Swagger that can tell them."""
        if not self._schema:
            return None
        from inference_schema import schema_util as known

        try:
            found = {"input": known.get_input_schema(self._function), "output": known.get_output_schema(self._function)}
            found["versions"] = list(known.get_supported_versions(self._function))
            size = len(json.dumps(found))
        except Exception as error:
            logger.warning("The script's schemas cannot be read, so /swagger.json lacks them: %s", said(error))
            return None
        if size > SWAGGER_LIMIT:
            logger.warning("The script's schemas have %d bytes, too many for /swagger.json. Use smaller samples.", size)
            return None
        return found

    def arguments(self, meta: dict[str, Any], body: bytes) -> dict[str, Any]:
        """Turn a request into run()'s arguments, or raise BadInput."""
        if self.raw:
            arguments = {self.first: self.web.request}
        elif self._schema:
            arguments = self._from_object(meta, body)
        elif meta.get("method") == "GET":
            arguments = {self.first: json.dumps(web.query(meta.get("query", "")))}
        else:
            arguments = {self.first: _text(body)}
        if self.wants_headers:
            arguments["request_headers"] = meta.get("headers", {})
        return arguments

    def _from_object(self, meta: dict[str, Any], body: bytes) -> dict[str, Any]:
        """Take the arguments of a run() under @input_schema from a JSON object."""
        data = web.query(meta.get("query", "")) if meta.get("method") == "GET" else _object(meta.get("type", ""), body)
        arguments = {}
        for parameter in self._parameters:
            # A default is given too: the decorators count on all parameters.
            value = data.get(parameter.name, parameter.default)
            if value is inspect.Parameter.empty:
                raise BadInput(400, f"A value is not provided for the {parameter.name!r} parameter.")
            arguments[parameter.name] = value
        return arguments


def _object(kind: str, body: bytes) -> dict[str, Any]:
    if kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
        raise BadInput(415, "Expects Content-Type to be application/json")
    try:
        data = json.loads(body)  # which finds out about UTF-16 and UTF-32
    except UnicodeDecodeError as error:
        raise BadInput(400, f"Input cannot be decoded as UTF-8: {error}") from None
    except ValueError as error:
        if not body:
            raise BadInput(400, "POST body is empty. Expecting a JSON dictionary.") from None
        raise BadInput(400, f"POST body could not be decoded as JSON: {error}") from None
    if not isinstance(data, dict):
        raise BadInput(400, "POST body should be a JSON dictionary.")
    return data


def _text(body: bytes) -> str:
    try:
        return str(body, "utf-8")
    except UnicodeDecodeError as error:
        raise BadInput(400, f"Input cannot be decoded as UTF-8: {error}") from None


def load(app_root: str, name: str, given: Settings) -> Script:
    """Import the script and check that it has what a scoring script needs."""
    path = os.path.join(app_root, name)
    _extend_path(app_root, path, given.source_directory)
    if not os.path.isfile(path):
        there = ", ".join(sorted(os.listdir(app_root))[:20]) if os.path.isdir(app_root) else "no such folder"
        raise Failure(
            "import", IMPORT_ERROR, f"There is no scoring script {name} in the code folder, which has: {there}"
        )
    module = _execute(path)
    for wanted in ("init", "run"):
        if not callable(getattr(module, wanted, None)):
            raise Failure("import", NOT_FOUND, f"The scoring script {name} does not define {wanted}().")
    # A driver module forwards to the real script, but loses its decorators.
    driven = getattr(module, "driver_module", None)
    run = driven.run if isinstance(driven, ModuleType) and hasattr(driven, "run") else module.run
    return Script(module.init, run, given.scoring_timeout_ms)


def _limited(run: Callable[..., Any], seconds: float) -> Callable[..., Any]:
    """Have run() interrupted by a TimeoutError, which code that does not come back to Python does not see."""

    def expire(_number: int, _frame: Any) -> None:
        raise TimeoutError(f"run() took longer than {seconds:g} s, the script's SCORING_TIMEOUT_MS")

    def limited(**arguments: Any) -> Any:
        before = signal.signal(signal.SIGALRM, expire)
        signal.setitimer(signal.ITIMER_REAL, max(seconds, 0))
        try:
            return run(**arguments)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)

    return limited


def _extend_path(app_root: str, path: str, source: str) -> None:
    folders = [app_root, os.path.dirname(path)]
    if source:
        folders.append(os.path.join(app_root, source))
    sys.path.extend(folder for folder in dict.fromkeys(folders) if folder not in sys.path)


def _execute(path: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location("entry_module", path)
    if spec is None or spec.loader is None:
        raise Failure("import", IMPORT_ERROR, f"The scoring script {os.path.basename(path)} is not a Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules["entry_module"] = module
    name = os.path.basename(path)
    try:
        spec.loader.exec_module(module)
    except SystemExit as error:
        if getattr(error, "by_supervisor", False):
            raise
        raise Failure("import", IMPORT_ERROR, f"{name} called sys.exit() while it was imported.", error) from None
    except BaseException as error:
        message = f"{name} cannot be imported: {said(error)}{_hint(error)}"
        raise Failure("import", IMPORT_ERROR, message, error) from None
    return module


def _hint(error: BaseException) -> str:
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        return ""
    return f". Add the package that provides {error.name.split('.')[0]} to the environment's conda file."


def _schema_decorated(run: Callable[..., Any]) -> bool:
    if "inference_schema" not in sys.modules:
        return False
    from inference_schema.schema_util import is_schema_decorated

    return bool(is_schema_decorated(run))
