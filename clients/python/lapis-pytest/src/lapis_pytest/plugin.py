"""The fixtures."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

import pytest

from .platform import Platform


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini("lapis_args", "More flags for `lapis up`, such as --environment host.", default="")


@pytest.fixture(scope="session")
def lapis(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A platform for the session, at a free port. With pytest-xdist each worker has its own."""
    args = shlex.split(pytestconfig.getini("lapis_args"))
    platform = Platform.start(tmp_path_factory.mktemp("lapis") / "data", args)
    yield platform
    platform.stop()


@pytest.fixture
def lapis_env(lapis: Platform) -> Iterator[Platform]:
    """The platform as its first start left it, and an environment that leads to it."""
    with lapis.environment():
        try:
            yield lapis
        finally:
            lapis.reset()
