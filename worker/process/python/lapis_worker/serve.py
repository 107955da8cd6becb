"""The worker's two loops: requests on the main thread, control on a thread of its own."""

from __future__ import annotations

import json
import os
import platform
import signal
import threading
import time
from typing import Any

from . import console, frames, script

INTERNAL = "An unexpected internal error occurred. Check the logs for more info."
RUN_RAISED = "An unexpected error occurred in scoring script. Check the logs for more info."


class Stopped(SystemExit):
    """The supervisor asked us to end."""

    by_supervisor = True


def main(app_root: str, name: str) -> None:
    data, control = frames.Channel(3), frames.Channel(4)
    signal.signal(signal.SIGTERM, _stop)
    threading.Thread(target=_control, args=(control,), name="lapis-control", daemon=True).start()
    console.setup(app_root, name)
    try:
        control.send_json(frames.STAGE, {"stage": "import"})
        loaded = script.load(app_root, name)
        control.send_json(frames.STAGE, {"stage": "init"})
        loaded.init()
    except script.Failure as failure:
        _fail(control, failure)
    control.send_json(frames.READY, {"meta": loaded.wants_meta, "python": platform.python_version()})
    _serve(data, loaded)


def _stop(_number: int, _frame: Any) -> None:
    raise Stopped(0)


def _fail(control: frames.Channel, failure: script.Failure) -> None:
    console.logger.error("%s", failure)
    if failure.trace:
        console.logger.error("Encountered Exception: %s", failure.trace.rstrip())
    if failure.stage == "init":
        console.tree(os.environ.get("AZUREML_MODEL_DIR", ""))
    report = {"stage": failure.stage, "code": failure.code, "type": failure.kind}
    report.update(message=str(failure), traceback=failure.trace)
    control.send_json(frames.FAILED, report)
    os._exit(3)  # at once: threads that the script has started must not keep us


def _control(control: frames.Channel) -> None:
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
    except OSError:
        pass
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(1)


def _serve(data: frames.Channel, loaded: script.Script) -> None:
    while True:
        frame = data.read()
        if frame is None:
            return
        data.send(frames.RESPONSE, frame.id, _answer(loaded, frame.payload))


def _answer(loaded: script.Script, payload: bytes) -> bytes:
    meta, body = frames.read_request(payload)
    try:
        arguments = loaded.arguments(meta, body)
    except script.BadInput as error:
        return frames.answer(error.status, _message(str(error)))
    start = time.perf_counter_ns()
    try:
        output = loaded.run(arguments)
    except SystemExit as error:
        if not isinstance(error, Stopped):
            console.logger.error(
                "run() called sys.exit(), which ends this instance: %s", script.user_trace(error).rstrip()
            )
        raise
    except Exception as error:
        console.logger.error("Encountered Exception: %s", script.user_trace(error).rstrip())
        return frames.answer(500, _message(RUN_RAISED), frames.RUN_FAILED)
    spent = time.perf_counter_ns() - start
    try:
        return _draw(output, spent)
    except Exception as error:
        console.logger.error("run() returned what cannot be sent as JSON: %s", script.said(error))
        return frames.answer(500, _message(INTERNAL))


def _draw(output: Any, spent: int) -> bytes:
    """Draw what run() returned: a response object as it is, anything else as JSON."""
    if hasattr(output, "get_data") and hasattr(output, "status_code"):
        headers = [[str(name), str(value)] for name, value in output.headers.items()]
        status, body = int(output.status_code), output.get_data()
        flags = frames.RAN | (frames.RUN_FAILED if status >= 500 else 0)
        answer = frames.answer(status, body, flags, spent, headers)
    else:
        body = b"{}" if output is None else json.dumps(output).encode()
        answer = frames.answer(200, body, frames.RAN, spent)
    if len(body) > frames.MAX_BODY:
        raise ValueError(f"the answer has {len(body)} bytes, more than {frames.MAX_BODY}")
    return answer


def _message(text: str) -> bytes:
    return json.dumps({"message": text}).encode()
