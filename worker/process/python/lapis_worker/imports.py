"""Which modules came from the environment, and modules that are there before the script has asked for them.

A process that has imported packages beforehand must look to the script like
one that has not: they are taken out of sys.modules and come back, with what
they need, when they are imported. If the script has put a folder of its own
in front in which the same name lies, it gets that one.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import sys
from types import FunctionType, ModuleType
from typing import Any, Callable, Iterable, Iterator

LIMIT = 5000  # names that are told

# What must not be imported for others: it starts threads, keeps connections, or changes what is there.
NEVER = frozenset(
    [
        "grpc",
        "tensorflow",
        "jax",
        "jaxlib",
        "cupy",
        "pycuda",
        "ray",
        "pyspark",
        "gevent",
        "eventlet",
        "opentelemetry",
        "ddtrace",
        "newrelic",
        "debugpy",
        "pydevd",
        "coverage",
        "pytest",
        "_pytest",
        "IPython",
        "jpype",
        "uvloop",
    ]
)


def top(name: str) -> str:
    return name.partition(".")[0]


def folders() -> tuple[str, ...]:
    """Return the folders of the environment's packages."""
    kinds = ("site-packages", "dist-packages")
    return tuple(os.path.join(entry, "") for entry in sys.path if os.path.basename(entry) in kinds)


def plain(module: Any) -> dict[str, Any]:
    """Return a module's names without waking those that load themselves when they are looked at."""
    return ModuleType.__getattribute__(module, "__dict__") if isinstance(module, ModuleType) else {}


def _origin(module: Any) -> str:
    spec = plain(module).get("__spec__")
    if not isinstance(spec, importlib.machinery.ModuleSpec):
        return ""
    return spec.origin if isinstance(spec.origin, str) else ""


def from_environment(inside: tuple[str, ...], known: Iterable[str] = ()) -> list[str]:
    """Name the loaded modules of the environment, but for those known, in the order in which they were begun."""
    skip = set(known)
    found = []
    for name, module in list(sys.modules.items()):
        if name in skip or top(name) in NEVER or not _origin(module).startswith(inside):
            continue
        if plain(module)["__spec__"].name == name and all(part.isidentifier() for part in name.split(".")):
            found.append(name)
    return found[:LIMIT]


def learner(inside: tuple[str, ...], known: Iterable[str] = ()) -> Callable[[], list[str]]:
    """Return what names, once the script is ready, the modules of the environment that it has loaded."""
    return lambda: from_environment(inside, known)


class Shelf:
    """Modules that are loaded but not shown. A finder of sys.meta_path."""

    def __init__(self, before: set[str], inside: tuple[str, ...], elsewhere: Callable[[str], None]) -> None:
        """Take what was loaded since before; elsewhere is called if a name now leads to another file."""
        self._elsewhere = elsewhere
        self._modules: dict[str, dict[str, ModuleType]] = {}
        new = {name: module for name, module in sys.modules.items() if name not in before}
        packages = {top(name) for name, module in new.items() if _origin(module).startswith(inside)}
        packages -= {top(name) for name in before}
        for name, module in new.items():
            if top(name) in packages:
                self._modules.setdefault(top(name), {})[name] = module
        self._needs = {package: set(self._references(package)) for package in self._modules}
        self.names = [name for modules in self._modules.values() for name in modules]

    def _references(self, package: str) -> Iterator[str]:
        """Name the other packages of which a package holds a module, a class or a function."""
        for module in self._modules[package].values():
            for value in list(plain(module).values()):
                if isinstance(value, ModuleType):
                    name = plain(value).get("__name__")
                elif isinstance(value, (type, FunctionType)):
                    name = value.__module__
                else:
                    continue
                if isinstance(name, str) and top(name) != package and top(name) in self._modules:
                    yield top(name)

    def needs(self, package: str, others: Iterable[str]) -> None:
        """Note that the import of a package has brought others along."""
        if package in self._needs:
            self._needs[package].update(other for other in others if other in self._modules and other != package)

    def hide(self) -> None:
        for name in self.names:
            sys.modules.pop(name, None)
        sys.meta_path.insert(0, self)  # type: ignore[arg-type]

    def loaded(self, name: str) -> ModuleType | None:
        """Return a module if it is loaded, shown or not."""
        return self._modules.get(top(name), sys.modules).get(name)

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """Give a package back if an import would find the same one."""
        module = self._modules.get(name, {}).get(name)
        if module is None:
            return None
        spec = self._search(name)
        if spec is None or (spec.origin or "") != _origin(module):
            self._elsewhere(name)
            return None
        return importlib.machinery.ModuleSpec(
            name,
            Back(self, name, plain(module)["__spec__"]),
            origin=spec.origin,
            is_package="__path__" in plain(module),
        )

    def _search(self, name: str) -> Any:
        for finder in sys.meta_path:
            find = getattr(finder, "find_spec", None)
            if finder is not self and find is not None:
                spec = find(name, None, None)
                if spec is not None:
                    return spec
        return None

    def give(self, package: str) -> ModuleType:
        """Show a package and those that it needs."""
        module = self._modules[package][package]
        wanted = [package]
        while wanted:
            one = wanted.pop()
            sys.modules.update(self._modules.pop(one, {}))
            wanted.extend(need for need in self._needs.pop(one, ()) if need in self._modules)
        return module


class Back:
    """The loader of a module that is loaded."""

    def __init__(self, shelf: Shelf, name: str, spec: Any) -> None:
        self._shelf, self._name, self._spec = shelf, name, spec

    def create_module(self, spec: Any) -> ModuleType:
        return self._shelf.give(self._name)

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._spec  # which the import has replaced by one of ours
