"""Which modules came from the environment, and modules that are there before the script has asked for them.

A process that has imported packages beforehand must look to the script like
one that has not. What the script's files do not import, nor need for what they
import, is taken out of sys.modules, and comes back when it is imported after
all. If the script has put a folder of its own in front in which the same name
lies, it gets that one.

Taking out and giving back writes to each module, and so costs an instance
memory of its own, some kilobytes a module. So only what has to be is taken out.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import re
import sys
from types import FunctionType, ModuleType
from typing import Any, Callable, Container, Iterable, Iterator

LIMIT = 5000  # names that are told
FILES = 2000  # that are looked at in a script's folders
SOURCE = 1 << 20  # bytes of a script's files that are read
_IMPORTS = re.compile(rb"^[ \t]*(?:from[ \t]+(\w+)|import[ \t]+([\w., \t]+))", re.MULTILINE)

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
    """Return a module's names without waking those that load themselves when they are looked at.

    What only says that it is a module, as the libraries of cffi do, has none.
    """
    return ModuleType.__getattribute__(module, "__dict__") if issubclass(type(module), ModuleType) else {}


def _origin(module: Any) -> str:
    spec = plain(module).get("__spec__")
    if not isinstance(spec, importlib.machinery.ModuleSpec):
        return ""
    return spec.origin if isinstance(spec.origin, str) else ""


def from_environment(inside: tuple[str, ...], known: Container[str] = (), after: str = "") -> list[str]:
    """Name the loaded modules of the environment, but for those known, in the order in which they were begun.

    Those up to a certain one are not even touched.
    """
    found = []
    for name in reversed(list(_newest(after))):
        module = sys.modules[name]
        if name in known or top(name) in NEVER or not _origin(module).startswith(inside):
            continue
        if plain(module)["__spec__"].name == name and all(part.isidentifier() for part in name.split(".")):
            found.append(name)
    return found[:LIMIT]


def _newest(after: str) -> Iterator[str]:
    for name in reversed(sys.modules):
        if name == after:
            return
        yield name


def learner(inside: tuple[str, ...], known: Container[str] = ()) -> Callable[[], list[str]]:
    """Return what names, once the script is ready, the modules of the environment that it has loaded."""
    last = next(reversed(sys.modules))
    return lambda: from_environment(inside, known, last)


def asked(folders: list[str]) -> tuple[set[str], set[str]] | None:
    """Return the packages that the Python files in folders import, and all names that could be imported from them.

    None means that there is too much to look at.
    """
    wanted: set[str] = set()
    there: set[str] = set()
    files = size = 0
    for folder in folders:
        for parent, names, plain_files in os.walk(folder):
            names[:] = [name for name in names if not name.startswith(".") and name != "__pycache__"]
            there.update(names)
            files += len(names) + len(plain_files)
            for file in plain_files:
                stem, _, kind = file.partition(".")
                if not kind.endswith(("py", "so", "pyc", "zip", "whl", "egg")):
                    continue
                there.add(stem)
                if kind == "py" and size <= SOURCE:
                    with open(os.path.join(parent, file), "rb") as opened:
                        source = opened.read(SOURCE)
                    size += len(source)
                    wanted.update(_imported(source))
            if files > FILES or size > SOURCE:
                return None
    return wanted, there


def _imported(source: bytes) -> Iterator[str]:
    for one, many in _IMPORTS.findall(source):
        for name in [one] if one else many.split(b","):
            yield top(name.strip().split(b" ")[0].decode("utf-8", "replace"))


class Shelf:
    """Packages that are loaded beforehand; those that are not shown are found by importing them."""

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
        self.names = frozenset(name for modules in self._modules.values() for name in modules)
        self._hidden: set[str] = set()

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

    def show_only(self, folders: list[str]) -> None:
        """Hide what the Python files in a script's folders do not import."""
        seen = asked([folder for folder in folders if folder])
        shown: set[str] = set()
        if seen is not None and seen[1].isdisjoint(self._modules):  # else each import has to be looked at
            shown = self._with_needs(seen[0])
        self._hidden = {package for package in self._modules if package not in shown}
        for package in self._hidden:
            for name in self._modules[package]:
                sys.modules.pop(name, None)
        sys.meta_path.insert(0, self)  # type: ignore[arg-type]

    def _with_needs(self, packages: Iterable[str]) -> set[str]:
        """Add to packages what they need, and leave out what is not here."""
        found: set[str] = set()
        wanted = [package for package in packages if package in self._modules]
        while wanted:
            package = wanted.pop()
            if package not in found:
                found.add(package)
                wanted.extend(self._needs[package])
        return found

    def loaded(self, name: str) -> ModuleType | None:
        """Return a module if it is loaded, shown or not."""
        return self._modules.get(top(name), sys.modules).get(name)

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """Give a package back if an import would find the same one."""
        if name not in self._hidden:
            return None
        module = self._modules[name].get(name)
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
        for one in self._with_needs([package]) & self._hidden:
            self._hidden.discard(one)
            sys.modules.update(self._modules[one])
        return self._modules[package][package]


class Back:
    """The loader of a module that is loaded."""

    def __init__(self, shelf: Shelf, name: str, spec: Any) -> None:
        self._shelf, self._name, self._spec = shelf, name, spec

    def create_module(self, spec: Any) -> ModuleType:
        return self._shelf.give(self._name)

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._spec  # which the import has replaced by one of ours
