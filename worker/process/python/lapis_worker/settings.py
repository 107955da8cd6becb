"""What the variables and config.json say of a scoring script's service, as Azure's inference server reads them.

A variable wins over the file, which is the first of: AZUREML_CONFIG_FILE, config.json in the app root, config.json
beside the script. What that server reads of the file and has no use here is left out.
"""

from __future__ import annotations

import json
import os
import re
from typing import Any

SERVER_VERSION = "azmlinfsrv/1.5.1"
NO_LIMIT = 3600 * 1000  # ms; longer than any request may take


class Invalid(Exception):
    """A setting with which the service cannot start."""


class Settings:
    """The settings, checked."""

    def __init__(self, environ: dict[str, str], app_root: str, script: str) -> None:
        self._environ = environ
        self._name, self._file = _config_file(environ, app_root, script)
        self.scoring_timeout_ms = self._milliseconds("SCORING_TIMEOUT_MS", NO_LIMIT)
        self.source_directory = self._text("AZUREML_SOURCE_DIRECTORY", "")
        given = environ.get("AML_CORS_ORIGINS", "")
        self._origins = [origin.strip() for origin in given.split(",")] if given else []
        for origin in self._origins:
            try:
                re.compile(origin if origin != "*" else ".*")
            except re.error as error:
                raise Invalid(f"AML_CORS_ORIGINS has {origin!r}, which is no origin and no pattern: {error}.") from None

    def report(self) -> dict[str, Any]:
        """Tell what the answers to requests depend on."""
        own = self._environ.get("HTTP_X_MS_SERVER_VERSION", "")
        shown = self._environ.get("SERVER_VERSION_LOG_RESPONSE_ENABLED", "true").lower() == "true"
        return {
            "name": self._text("SERVICE_NAME", "ML service"),
            "version": self._text("SERVICE_VERSION", "1.0"),
            "prefix": self._text("SERVICE_PATH_PREFIX", ""),
            "origins": self._origins,
            "server": SERVER_VERSION if shown else own,
        }

    def advice(self) -> list[str]:
        """Say which variables have another effect here than on Azure."""
        count = self._environ.get("WORKER_COUNT", "1").strip()
        if count in ("", "1"):
            return []
        return [
            f"WORKER_COUNT is {count} and has no effect: an instance is one process, which calls run() for one request "
            "at a time. Raise the deployment's instance_count instead."
        ]

    def _value(self, name: str) -> Any:
        return self._environ[name] if name in self._environ else self._file.get(name)

    def _text(self, name: str, standard: str) -> str:
        value = self._value(name)
        if value is None:
            return standard
        if not isinstance(value, str):
            raise Invalid(f"{name} in {self._name} must be a text, and is {value!r}.")
        return value

    def _milliseconds(self, name: str, standard: int) -> int:
        value = self._value(name)
        try:
            return standard if value is None else int(value)
        except (TypeError, ValueError):
            raise Invalid(f"{name} must be a whole number of milliseconds, and is {value!r}.") from None


def _config_file(environ: dict[str, str], app_root: str, script: str) -> tuple[str, dict[str, Any]]:
    """Read the file, if there is one that is not empty."""
    beside = os.path.dirname(os.path.join(app_root, script))
    for path in (
        environ.get("AZUREML_CONFIG_FILE", ""),
        os.path.join(app_root, "config.json"),
        os.path.join(beside, "config.json"),
    ):
        if not path or not os.path.isfile(path) or not os.path.getsize(path):
            continue
        try:
            with open(path, encoding="utf-8") as file:
                found = json.load(file)
        except (OSError, ValueError) as error:
            raise Invalid(f"{path} is not JSON, but the inference server's settings: {error}.") from None
        if not isinstance(found, dict):
            raise Invalid(f"{path} is not a JSON object, but the inference server's settings.")
        return path, found
    return "", {}
