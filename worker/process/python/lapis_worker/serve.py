"""The worker's two loops: requests on the main thread, control on a thread of its own."""

from __future__ import annotations

import json
import os
import platform
import signal
import sys
import threading
import time
from typing import Any, Callable, List, Optional, Tuple

from . import console, frames, output, script, settings, web

INTERNAL = "An unexpected internal error occurred. Check the logs for more info."
RUN_RAISED = "An unexpected error occurred in scoring script. Check the logs for more info."


class Stopped(SystemExit):
    """The supervisor asked us to end."""

    by_supervisor = True


class Turn:
    """Which requests have been begun, and which must not be any more.

    The main thread writes begun and then reads recalled; the control thread
    writes recalled and then reads begun. With a GIL at least one of them sees
    what the other has written, so no request that the control thread reports
    as not begun is ever run.
    """

    begun = 0
    recalled = 0
    left: frozenset[int] = frozenset()  # requests whose clients have gone; the control thread replaces it

    def leave(self, frame_id: int) -> None:
        begun = self.begun
        self.left = frozenset([other for other in self.left if other >= begun] + [frame_id])


_HAS_GIL = getattr(sys, "_is_gil_enabled", lambda: True)()


def main(app_root: str, name: str, learned: Callable[[], list[str]] | None = None) -> None:
    """Serve the script. What has been learned of its imports is told when it is ready."""
    data, control, turn = frames.Data(3), frames.Control(4), Turn()
    signal.signal(signal.SIGTERM, _stop)
    threading.Thread(target=_control, args=(control, turn), name="lapis-control", daemon=True).start()
    console.setup(app_root, name)
    web.offer()
    try:
        control.send_json(frames.STAGE, {"stage": "import"})
        given = _settings(app_root, name)
        loaded = script.load(app_root, name, given)
        control.send_json(frames.STAGE, {"stage": "init"})
        loaded.init()
        loaded.finish()
    except script.Failure as failure:
        _fail(control, failure)
    ready = {"meta": loaded.wants_meta, "raw": loaded.raw, "python": platform.python_version()}
    ready.update(swagger=loaded.swagger(), settings=given.report(), modules=_learned(learned))
    control.send_json(frames.READY, ready)
    _serve(data, loaded, turn)


def _settings(app_root: str, name: str) -> settings.Settings:
    try:
        given = settings.Settings(dict(os.environ), app_root, name)
        given.report()
    except settings.Invalid as error:
        raise script.Failure("import", script.IMPORT_ERROR, str(error)) from None
    for line in given.advice():
        console.logger.warning("%s", line)
    return given


def _learned(learned: Callable[[], list[str]] | None) -> list[str]:
    """Name what a process to fork from should import. The script can do without."""
    try:
        return learned() if learned else []
    except Exception as error:
        console.logger.warning("What the script imports cannot be told: %s", script.said(error))
        return []


def _stop(_number: int, _frame: Any) -> None:
    raise Stopped(0)


def _fail(control: frames.Control, failure: script.Failure) -> None:
    console.logger.error("%s", failure)
    if failure.trace:
        console.logger.error("Encountered Exception: %s", failure.trace.rstrip())
    if failure.stage == "init":
        console.tree(os.environ.get("AZUREML_MODEL_DIR", ""))
    report = {"stage": failure.stage, "code": failure.code, "type": failure.kind}
    report.update(message=str(failure), traceback=failure.trace)
    control.send_json(frames.FAILED, report)
    os._exit(3)  # at once: threads that the script has started must not keep us


def _control(control: frames.Control, turn: Turn) -> None:
    """Answer the supervisor while run() is busy. Without a supervisor there is nothing to live for."""
    main_thread = console.main_thread()
    try:
        while True:
            frame = control.read()
            if frame is None:
                break
            if frame.kind == frames.PING:
                control.send(frames.PONG, frame.id, b"")
            elif frame.kind == frames.WHERE:
                console.where(main_thread)
            elif frame.kind == frames.RECALL:
                turn.recalled = frame.id
                if _HAS_GIL:
                    control.send_begun(frame.id, turn.begun)
            elif frame.kind == frames.LEAVE:
                turn.leave(frame.id)
    except OSError:
        pass
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(1)


def _serve(data: frames.Data, loaded: script.Script, turn: Turn) -> None:
    clock, dump = time.perf_counter_ns, output.dumper()
    while True:
        request = data.read()
        if request is None:
            return
        frame_id, meta, body = request
        turn.begun = frame_id
        if frame_id <= turn.recalled or frame_id in turn.left:
            data.give_back(frame_id)
            continue
        began = clock()
        plain = loaded.plain and not meta
        answered = _answer_plain(loaded, body, began, dump) if plain else _answer(loaded, meta, body)
        status, answer, flags, spent, headers, rest = answered
        data.send(frame_id, status, answer, flags, spent, clock() - began, headers)
        if rest is not None:
            flags = _send_rest(data, frame_id, rest, turn)
            data.send_end(frame_id, flags, clock() - began)


def _send_rest(data: frames.Data, frame_id: int, rest: web.Pieces, turn: Turn) -> int:
    """Send the pieces of an answer as they are made, while somebody reads them. Return the flags of its end."""
    try:
        for piece in rest:
            if frame_id in turn.left:
                break
            data.send_piece(frame_id, piece)
    except Exception as error:
        _log_streaming(error)
        return frames.RUN_FAILED
    finally:
        rest.close()
    return 0


def _log_streaming(error: BaseException) -> None:
    console.logger.error("Encountered Exception while the answer was sent: %s", script.user_trace(error).rstrip())


# What is sent for a request: status, body, flags, ns in run(), headers, and what follows the body.
_Answer = Tuple[int, bytes, int, int, Optional[List[Any]], Optional[web.Pieces]]


def _answer_plain(loaded: script.Script, body: bytes, began: int, dump: Callable[[Any], str]) -> _Answer:
    """Do what _answer does for most requests: a text in, and an object of JSON out."""
    try:
        text = str(body, "utf-8")
    except UnicodeDecodeError:
        return _answer(loaded, b"", body)
    try:
        returned = loaded.run(**{loaded.first: text})
    except BaseException as error:
        return _raised(loaded, error)
    spent = time.perf_counter_ns() - began
    kind = type(returned)
    if kind is list or kind is dict or kind is str:
        try:
            drawn = dump(returned).encode()
            if len(drawn) <= frames.MAX_BODY:
                return 200, drawn, frames.RAN, spent, None, None
        except Exception:  # which says below what it is
            pass
    return _drawn(returned, spent, None)


def _answer(loaded: script.Script, packed: bytes, body: bytes) -> _Answer:
    """Run the script on a request. Packed is what goes with the body, as JSON."""
    if not packed:
        return _run(loaded, {}, body, None)
    meta = json.loads(packed)
    if loaded.web is None:
        return _run(loaded, meta, body, None)
    try:
        context = loaded.web.context(meta, body)
    except Exception as error:
        console.logger.error("The request cannot be made one of Flask's: %s", script.said(error))
        return 500, _message(INTERNAL), 0, 0, None, None
    return _run(loaded, meta, body, context)


def _run(loaded: script.Script, meta: dict[str, Any], body: bytes, context: Any) -> _Answer:
    """Run the script, within Flask's context if it has one, and draw what comes of it."""
    if context is None:
        returned = _call(loaded, meta, body, None)
    else:
        with context:
            returned = _call(loaded, meta, body, context)
    if not isinstance(returned, _Returned):
        return returned
    # Without the context, in which a stream is not made either.
    return _drawn(returned.output, returned.spent, getattr(context, "request", None))


class _Returned:
    """What run() has returned, and how many ns it took."""

    __slots__ = ("output", "spent")

    def __init__(self, output: Any, spent: int) -> None:
        self.output, self.spent = output, spent


def _call(loaded: script.Script, meta: dict[str, Any], body: bytes, context: Any) -> _Returned | _Answer:
    try:
        arguments = loaded.arguments(meta, body)
    except script.BadInput as error:
        return error.status, _message(str(error)), 0, 0, None, None
    start = time.perf_counter_ns()
    try:
        returned = loaded.run(**arguments)
        spent = time.perf_counter_ns() - start
        return _Returned(returned if context is None else loaded.web.after(context, returned), spent)
    except BaseException as error:
        return _raised(loaded, error)


def _raised(loaded: script.Script, error: BaseException) -> _Answer:
    """Answer for a run() that has raised, unless that is to end the process."""
    if isinstance(error, Stopped):
        raise error
    trace = script.user_trace(error).rstrip()
    if isinstance(error, SystemExit):
        console.logger.error("run() called sys.exit(), which ends this instance: %s", trace)
        raise error
    console.logger.error("Encountered Exception: %s", trace)
    said = RUN_RAISED
    if isinstance(error, TimeoutError):  # also one of the script's own, as in Azure's server
        said = f"Scoring timeout after {loaded.timeout_ms} ms"
    return 500, _message(said), frames.RUN_FAILED, 0, None, None  # and the next request may do better


def _drawn(returned: Any, spent: int, request: Any) -> _Answer:
    try:
        return _draw(returned, spent, request)
    except Exception as error:
        console.logger.error("run() returned what cannot be sent: %s", script.said(error))
        return 500, _message(INTERNAL), 0, 0, None, None


def _draw(returned: Any, spent: int, request: Any) -> _Answer:
    """Draw what run() returned: a response object as it is, anything else as JSON."""
    if not web.is_response(returned):
        body = b"{}" if returned is None else json.dumps(returned).encode()
        return 200, _checked(body), frames.RAN, spent, None, None
    try:
        status, body, headers, rest = web.unpack(returned, getattr(request, "environ", None))
    except web.Broken as broken:
        _log_streaming(broken.cause)
        return 500, _message(RUN_RAISED), frames.RUN_FAILED, 0, None, None
    flags = frames.RAN | (frames.RUN_FAILED if status >= 500 else 0) | (frames.MORE if rest is not None else 0)
    return status, _checked(body), flags, spent, headers, rest


def _checked(body: bytes) -> bytes:
    if len(body) > frames.MAX_BODY:
        raise ValueError(f"the answer has {len(body)} bytes, more than {frames.MAX_BODY}")
    return body


def _message(text: str) -> bytes:
    return json.dumps({"message": text}).encode()
