"""Start, reset and stop a platform. Needs nothing but the standard library and the lapis program."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shlex
import shutil
import ssl
import subprocess
import time
import urllib.parse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ARM = "management.azure.com"
LOGIN = "login.microsoftonline.com"

#: Variables that lead Azure's clients elsewhere, whatever `lapis env` says: another cloud, another credential.
MISLEADING = (
    "ALL_PROXY",
    "all_proxy",
    "ARM_CLOUD_METADATA_URL",
    "AZURE_AUTHORITY_HOST",
    "AZURE_CLIENT_CERTIFICATE_PATH",
    "AZURE_FEDERATED_TOKEN_FILE",
    "AZURE_PASSWORD",
    "AZURE_TOKEN_CREDENTIALS",
    "AZURE_USERNAME",
    "AZUREML_CURRENT_CLOUD",
    "IDENTITY_ENDPOINT",
    "IDENTITY_HEADER",
    "MSI_ENDPOINT",
    "MSI_SECRET",
)


class LapisError(RuntimeError):
    """The platform does not start, or refuses what a fixture asks of it."""


def find_binary() -> str:
    """The lapis program: $LAPIS_BINARY, else the first one in PATH."""
    named = os.environ.get("LAPIS_BINARY")
    if named:
        if not os.access(named, os.X_OK):
            raise LapisError(f"LAPIS_BINARY names {named}, which is no program that can be run")
        return os.path.abspath(named)
    found = shutil.which("lapis")
    if not found:
        raise LapisError("there is no lapis program: set LAPIS_BINARY to its path, or put it into PATH")
    return found


class Platform:
    """A platform that runs. Make one with start(), or take the fixture `lapis`."""

    def __init__(self, process: subprocess.Popen[bytes], data: Path, log: Path, env: dict[str, str]) -> None:
        self._process = process
        self._log = log
        self._token = ("", 0.0)
        self._context = ssl.create_default_context(cafile=env["SSL_CERT_FILE"])
        #: The data folder.
        self.data = data
        #: What `lapis env` prints: variables that lead every Azure client to the platform.
        self.env = env
        self.subscription_id = env["AZURE_SUBSCRIPTION_ID"]
        self.tenant_id = env["AZURE_TENANT_ID"]
        self.resource_group = env["AZURE_DEFAULTS_GROUP"]
        self.workspace = env["AZURE_DEFAULTS_WORKSPACE"]
        self.location = env["AZURE_DEFAULTS_LOCATION"]

    @classmethod
    def start(cls, data: str | os.PathLike[str], args: Sequence[str] = (), timeout: float = 60) -> Platform:
        """Run `lapis up` on the data folder, at a free port, and return once it answers."""
        binary, folder = find_binary(), Path(data).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        log = folder.with_name(folder.name + ".log")
        command = [binary, "up", "--resettable", "--data", str(folder), *args]
        with log.open("wb") as out:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)
        try:
            deadline = time.monotonic() + timeout
            while not (folder / "client.json").exists():  # written once the platform answers
                if process.poll() is not None:
                    raise LapisError(f"lapis ended with code {process.returncode} instead of starting:\n{_tail(log)}")
                if time.monotonic() > deadline:
                    raise LapisError(f"lapis is not ready after {timeout:g} s:\n{_tail(log)}")
                time.sleep(0.01)
            return cls(process, folder, log, _env(binary, folder))
        except BaseException:
            _end(process)
            raise

    def stop(self) -> None:
        """End the platform and what it runs. Stopping twice is harmless."""
        _end(self._process)

    def reset(self) -> list[str]:
        """Delete everything that the first start did not make; return the ids of what went."""
        answer = self._call(ARM, "POST", "/providers/Lapis.Platform/reset?api-version=2026-11-01", None, self._bearer())
        return answer["deleted"]

    def ml_client(self, **kwargs: Any) -> Any:
        """An azure.ai.ml.MLClient of the default workspace. Needs azure-ai-ml, and the environment to be set."""
        if os.environ.get("HTTPS_PROXY") != self.env["HTTPS_PROXY"]:
            raise LapisError(
                "the environment does not lead to this platform: use the fixture lapis_env, or environment()"
            )
        try:
            from azure.ai.ml import MLClient
            from azure.identity import EnvironmentCredential
        except ImportError as err:
            raise LapisError("ml_client() needs azure-ai-ml: pip install 'lapis-pytest[ml]'") from err
        credential = kwargs.pop("credential", None) or EnvironmentCredential()
        where = {
            "subscription_id": self.subscription_id,
            "resource_group_name": self.resource_group,
            "workspace_name": self.workspace,
        }
        return MLClient(credential, **{**where, **kwargs})

    @contextlib.contextmanager
    def environment(self) -> Iterator[Platform]:
        """Set the variables for the time of a with block, for what runs outside of lapis_env."""
        before = dict(os.environ)
        for name in MISLEADING:
            os.environ.pop(name, None)
        os.environ.update(self.env)
        try:
            yield self
        finally:
            os.environ.clear()
            os.environ.update(before)

    @property
    def log(self) -> str:
        """What the platform has logged."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def _bearer(self) -> dict[str, str]:
        token, expires = self._token
        if time.monotonic() > expires:
            form = {
                "grant_type": "client_credentials",
                "client_id": self.env["AZURE_CLIENT_ID"],
                "client_secret": self.env["AZURE_CLIENT_SECRET"],
                "scope": f"https://{ARM}/.default",
            }
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            path = f"/{self.tenant_id}/oauth2/v2.0/token"
            answer = self._call(LOGIN, "POST", path, urllib.parse.urlencode(form).encode(), headers)
            token = answer["access_token"]
            self._token = (token, time.monotonic() + answer["expires_in"] / 2)
        return {"Authorization": "Bearer " + token}

    def _call(self, host: str, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> dict[str, Any]:
        """One request through the gateway, whatever proxies the environment names."""
        proxy = urllib.parse.urlsplit(self.env["HTTPS_PROXY"])
        connection = http.client.HTTPSConnection(proxy.hostname or "", proxy.port, timeout=60, context=self._context)
        connection.set_tunnel(host, 443)
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            text = response.read()
        except OSError as err:
            raise LapisError(f"the platform does not answer: {err}\n{_tail(self._log)}") from err
        finally:
            connection.close()
        if response.status >= 300:
            raise LapisError(f"{method} https://{host}{path}: {response.status} {text.decode(errors='replace')}")
        return json.loads(text or b"{}")


def _env(binary: str, data: Path) -> dict[str, str]:
    """The lines `export NAME=value` of `lapis env`, as a dict."""
    done = subprocess.run([binary, "env", "--data", str(data)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise LapisError(f"lapis env failed: {done.stderr.strip()}")
    env = {}
    for word in shlex.split(done.stdout):
        name, found, value = word.partition("=")
        if found:
            env[name] = value
    return env


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _tail(log: Path, lines: int = 20) -> str:
    try:
        return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
    except OSError:
        return ""
