"""What the script logs and prints: one console, in the line format of Azure's inference server.

Unlike that server's own default, the root logger shows INFO, so that a plain
logging.info() of a scoring script is seen. A logging.json in the app root or
beside the script replaces the default.
"""

from __future__ import annotations

import builtins
import faulthandler
import json
import logging
import logging.config
import os
import sys
import threading
import time
import traceback
from typing import Any

FORMAT = "%(asctime)s %(levelname).1s [%(process)d] %(name)s - %(message)s"
TREE_LINES = 200

logger = logging.getLogger("azmlinfsrv")


class AMLLogFormatter(logging.Formatter):
    """Time in UTC. Its name is that of Azure's server, whose own logging.json people copy."""

    converter = time.gmtime

    def __init__(self, fmt: str | None = FORMAT, datefmt: str | None = None, style: Any = "%") -> None:
        super().__init__(fmt, datefmt, style)


class RootAccessFilter(logging.Filter):
    """Hides the probes of a web server's access log, of which there is none here."""

    def filter(self, record: logging.LogRecord) -> bool:
        return "GET / HTTP/1.1" not in record.getMessage()


def setup(app_root: str, script: str) -> None:
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    faulthandler.enable()
    _default()
    _from_file(app_root, script)
    _catch_print()


def _default() -> None:
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(AMLLogFormatter())
    root = logging.getLogger()
    root.addHandler(handler)
    wanted = os.environ.get("AZUREML_LOG_LEVEL", "INFO").upper()
    root.setLevel(wanted if wanted in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL") else "INFO")
    logging.getLogger("azure").setLevel(logging.WARNING)


def _from_file(app_root: str, script: str) -> None:
    beside = os.path.dirname(os.path.join(app_root, script))
    for folder in (app_root, beside):
        path = os.path.join(folder, "logging.json")
        if not os.path.isfile(path):
            continue
        try:
            with open(path, encoding="utf-8") as file:
                text = file.read().replace('"azureml_inference_server_http.log_config.', f'"{__name__}.')
            logging.config.dictConfig(json.loads(text))
        except Exception as error:  # a broken file costs the user his settings, not his deployment
            logger.warning("%s is not used, because it is not a valid logging configuration: %s", path, error)
        return


def _catch_print() -> None:
    """Log what print() would write, as the logger azmlinfsrv.print; what goes elsewhere goes there."""
    log = logging.getLogger("azmlinfsrv.print")
    plain, console = builtins.print, sys.stdout

    def logged(
        *values: Any, sep: str | None = None, end: str | None = None, file: Any = None, flush: bool = False
    ) -> None:
        target = sys.stdout if file is None else file
        if target is not console or not log.isEnabledFor(logging.INFO):
            plain(*values, sep=sep, end=end, file=file, flush=flush)
            return
        log.info("%s", (" " if sep is None else sep).join(map(str, values)))  # a line of its own, whatever its end

    builtins.print = logged


def where(thread: int | None) -> None:
    """Show what a thread is doing."""
    frame = sys._current_frames().get(thread) if thread is not None else None
    if frame is None:
        return
    stack = "".join(traceback.format_stack(frame))
    logger.warning("The script is still busy. Most recent call last:\n%s", stack.rstrip())


def tree(folder: str) -> None:
    """Log the names below the model folder, as a help after a failed init()."""
    if not folder or not os.path.isdir(folder):
        return
    logger.info("Contents of the model folder %s:", folder)
    shown = 0
    for parent, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted(files):
            if shown == TREE_LINES:
                logger.info("... (only the first %d files are shown)", TREE_LINES)
                return
            logger.info("  %s", os.path.relpath(os.path.join(parent, name), folder))
            shown += 1


def main_thread() -> int | None:
    return threading.main_thread().ident
