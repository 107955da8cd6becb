"""A process that imports packages of the environment once and forks instances that have them.

It runs no code of the user, sees no identity and no secret, and has one
thread. What it gets and says goes over one socket, in the frames of frames.py;
zygote_linux.go is the other end and explains the kinds.

What it forks gets ready as far as all instances are alike, and then waits to
be told what it is, on its own control socket. That may be at once or later.
"""

from __future__ import annotations

import array
import contextlib
import ctypes
import errno
import fcntl
import gc
import importlib
import importlib.util
import json
import os
import random  # noqa: F401 - seeds itself anew after a fork, if it is there before
import select
import signal
import socket
import struct
import sys
import threading
import time
import traceback
from typing import Any, Callable

from . import imports

IMPORT, FORK, REAP = 32, 33, 34
STANDING, UNFIT, FORKED, REFUSED, ENDED = 40, 41, 42, 43, 44
BECOME = 24

_HEADER = struct.Struct(">IBQ")
_SET_DEATH_SIGNAL = 1
AWAY = 1 << 6
_HOW = {1: "exit", 2: "signal", 3: "core"}  # CLD_EXITED, CLD_KILLED, CLD_DUMPED, of which Python 3.8 lacks two

# Libraries of linear algebra start their threads when they are loaded, and a
# process with threads cannot be forked.
THREADS = ("OPENBLAS_NUM_THREADS", "GOTO_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS")


class Unfit(Exception):
    """The process must not be forked. Says which package is the cause, if one is."""

    def __init__(self, package: str, why: str) -> None:
        super().__init__(why)
        self.package, self.why = package, why


class Link:
    """The socket to the supervisor."""

    def __init__(self, fd: int) -> None:
        self.socket = socket.socket(fileno=_away(fd))

    def read(self) -> tuple[int, int, bytes, list[int]] | None:
        """Return kind, id, payload and descriptors of the next frame, or None at the end."""
        descriptors = array.array("i")
        space = socket.CMSG_SPACE(4 * descriptors.itemsize)
        try:
            head, extra, _, _ = self.socket.recvmsg(_HEADER.size, space, socket.MSG_CMSG_CLOEXEC)
        except ConnectionResetError:
            return None
        for level, kind, data in extra:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])
        head += self._exactly(_HEADER.size - len(head)) if head else b""
        if len(head) < _HEADER.size:
            return None
        length, kind, number = _HEADER.unpack(head)
        payload = self._exactly(length)
        return (kind, number, payload, list(descriptors)) if len(payload) == length else None

    def _exactly(self, size: int) -> bytes:
        parts = []
        while size:
            part = self.socket.recv(min(size, 1 << 20))
            if not part:
                break
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def send(self, kind: int, number: int, value: Any) -> None:
        payload = json.dumps(value).encode()
        self.socket.sendall(_HEADER.pack(len(payload), kind, number) + payload)


class _Noted(dict):  # type: ignore[type-arg]
    """The environment while packages are imported: notes which names they ask for."""

    asked: set[str] = set()

    def __getitem__(self, name: bytes) -> bytes:
        self.asked.add(os.fsdecode(name))
        return dict.__getitem__(self, name)


class Zygote:
    def __init__(self, link: Link, mark: str) -> None:
        self.link = link
        self.children: dict[int, tuple[int, bool]] = {}  # by pid: number, and whether its end has been told
        self.shelf: imports.Shelf | None = None
        self.added: dict[str, str] = {}  # what the packages have put into the environment
        self._mark = _Mark(mark)
        self._libc = ctypes.CDLL(None, use_errno=True)

    def preload(self, names: list[str], inside: tuple[str, ...]) -> dict[str, Any]:
        """Import what can be imported."""
        before = set(sys.modules)
        skipped: dict[str, str] = {}
        brought: dict[str, set[str]] = {}
        seen = set(before)
        for name in reversed(names):  # the modules that others import come first
            if name not in sys.modules and _belongs(name, inside):
                _import(name, skipped)
                self._check(imports.top(name))
                new = {imports.top(more) for more in sys.modules if more not in seen}
                seen.update(sys.modules)
                brought.setdefault(imports.top(name), set()).update(new)
        self.shelf = imports.Shelf(before, inside, _start_over)
        for package, others in brought.items():
            self.shelf.needs(package, others)
        return {"modules": sorted(self.shelf.names), "skipped": skipped}

    def _check(self, package: str) -> None:
        if threads() > 1:
            raise Unfit(package, "it starts threads when it is imported")
        if any(link.startswith("/dev/nvidia") for link in _open_files()):
            raise Unfit(package, "it opens a graphics card when it is imported")

    def serve(self) -> tuple[str, str]:
        """Fork on demand. Returns in the instances only, with app root and script."""
        woken, wake = map(_away, os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK))
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        poll = select.poll()
        poll.register(self.link.socket, select.POLLIN)
        poll.register(woken, select.POLLIN)
        while True:
            for fd, _ in poll.poll():
                if fd == woken:
                    _drain(woken)
                    self._tell_ends()
                    continue
                frame = self.link.read()
                if frame is None:
                    os._exit(0)  # the instances end with us
                kind, number, payload, descriptors = frame
                if kind == REAP:
                    self._reap(number)
                elif kind == FORK:
                    fields = self._fork(number, payload, descriptors)
                    if fields is not None:
                        return os.fsdecode(fields[0]), os.fsdecode(fields[1])

    def _tell_ends(self) -> None:
        for pid, (number, told) in list(self.children.items()):
            if told:
                continue
            ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG)
            if ended is not None:
                self.children[pid] = (number, True)
                self.link.send(ENDED, number, {"how": _HOW.get(ended.si_code, "exit"), "code": ended.si_status})

    def _reap(self, number: int) -> None:
        for pid, (known, _) in list(self.children.items()):
            if known == number:
                del self.children[pid]
                os.waitpid(pid, 0)

    def _fork(self, number: int, mark: bytes, descriptors: list[int]) -> list[bytes] | None:
        """Return, in the instance only, what it is: app root, script, and the environment."""
        try:
            if len(descriptors) < 3:
                raise OSError(errno.EBADF, "no descriptors came")
            if threads() > 1:
                raise OSError(errno.EDEADLK, "threads run in the process")
            me = os.getpid()
            pid = os.fork()
        except OSError as error:
            self.link.send(REFUSED, number, {"why": str(error)})
            pid = -1
        if pid == 0:
            try:
                self._part(me, mark, descriptors)
                fields = _told()
                self._become(fields)
            except BaseException:
                traceback.print_exc()
                sys.stderr.flush()
                os._exit(1)
            return fields
        for fd in descriptors:
            os.close(fd)
        if pid > 0:
            with contextlib.suppress(OSError):  # it has done so itself, and has gone on
                os.setpgid(pid, pid)
            self.children[pid] = (number, False)
            self.link.send(FORKED, number, {"pid": pid})
        return None

    def _part(self, parent: int, mark: bytes, descriptors: list[int]) -> None:
        """Make a process of what was a copy: what it belongs to, and what it holds."""
        os.setpgid(0, 0)
        if self._libc.prctl(_SET_DEATH_SIGNAL, int(signal.SIGKILL), 0, 0, 0) or os.getppid() != parent:
            os._exit(1)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self.link.socket.detach()
        data, control, console = map(_away, descriptors[:3])
        for source, target in ((data, 3), (control, 4), (console, 1), (console, 2)):
            os.dup2(source, target)
        os.closerange(AWAY, max(data, control, console) + 1)  # the supervisor's socket and ours are among them
        self._mark.write(mark)
        assert self.shelf is not None
        _reseed(self.shelf.loaded)
        os.environ.clear()
        os.environ.update(self.added)
        _rehearse()

    def _become(self, fields: list[bytes]) -> None:
        """Make an instance of the process: what it sees."""
        root, script = map(os.fsdecode, fields[:2])
        for entry in fields[2:]:
            name, _, value = entry.partition(b"=")
            if name:
                os.environb[name] = value
        os.chdir(root)
        program = [sys.executable, _boot(), root, script]
        if hasattr(sys, "orig_argv"):
            sys.orig_argv[:] = program
        _Again.program, _Again.environ = program, dict(os.environ)
        assert self.shelf is not None
        self.shelf.show_only([os.getcwd(), os.environ.get("AZUREML_MODEL_DIR", "")])
        gc.enable()


def _told() -> list[bytes]:
    """Wait to be told what to be. Without a supervisor there is nothing to live for."""
    length, kind, _ = _HEADER.unpack(_exactly(_HEADER.size))
    fields = _exactly(length).split(b"\0")
    if kind != BECOME or len(fields) < 2:
        raise ValueError(f"kind {kind} with {len(fields)} fields")
    os.write(4, _HEADER.pack(0, BECOME, 0))
    return fields


def _exactly(size: int) -> bytes:
    """Read from the control socket, which is not to lose a byte of what comes after."""
    parts = []
    while size:
        part = os.read(4, size)
        if not part:
            os._exit(0)
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _rehearse() -> None:
    """Do once what each start does, so that its pages are this process's own before anybody waits for it."""
    thread = threading.Thread(target=threads, name="lapis-rehearsal")
    thread.start()
    thread.join()


class _Mark:
    """The mark in the environment that the kernel shows of this process, by which its leftovers are found.

    A fork keeps the environment that its parent was started with, so the mark
    is written over.
    """

    def __init__(self, mark: str) -> None:
        get = ctypes.CDLL(None).getenv
        get.restype = ctypes.c_void_p
        self._place, self._size = get(b"LAPIS_INSTANCE"), len(mark)
        if not self._place or ctypes.string_at(self._place) != mark.encode():
            raise Unfit("", "its environment cannot be found in memory")

    def write(self, mark: bytes) -> None:
        if len(mark) != self._size:
            raise ValueError("marks differ in length")
        ctypes.memmove(self._place, mark, self._size)


class _Again:
    program: list[str] = []
    environ: dict[str, str] = {}
    ready = False


def _start_over(name: str) -> None:
    """Begin again as a process of its own: the script's path leads to another module than the one loaded here."""
    if _Again.ready:
        return
    sys.stderr.write(
        f"The script has a module {name} of its own in front of the environment's; it is started in a fresh process.\n"
    )
    sys.stdout.flush()
    for fd in (3, 4):
        os.set_inheritable(fd, True)
    os.execve(_Again.program[0], _Again.program, _Again.environ)


def main() -> tuple[str, str, Callable[[], list[str]]]:
    """Serve as the zygote. Returns in the instances only: app root, script, and what tells the modules it lacked."""
    link = Link(3)
    try:
        zygote = Zygote(link, os.environ.get("LAPIS_INSTANCE", ""))
        inside = imports.folders()
        _prepare(zygote, inside)
        gc.collect()
        gc.disable()
        gc.freeze()
    except Unfit as unfit:
        link.send(UNFIT, 0, {"package": unfit.package, "why": unfit.why})
        os._exit(0)
    root, script = zygote.serve()
    assert zygote.shelf is not None
    tell = imports.learner(inside, zygote.shelf.names)

    def learned() -> list[str]:
        _Again.ready = True
        return tell()

    return root, script, learned


def _prepare(zygote: Zygote, inside: tuple[str, ...]) -> None:
    """Import what is asked for. What this takes is given back before anything is forked, as no instance could."""
    first = zygote.link.read()
    if first is None or first[0] != IMPORT:
        os._exit(1)
    began = time.perf_counter()
    with_threads = any(name in os.environ for name in THREADS)
    names = json.loads(first[2])
    report, zygote.added = _noting(lambda: zygote.preload(names, inside), bound=not with_threads)
    if "LC_CTYPE" in os.environ:  # the interpreter sets it as it starts if the environment names no locale
        zygote.added.setdefault("LC_CTYPE", os.environ["LC_CTYPE"])
    zygote.link.send(STANDING, 0, dict(report, seconds=time.perf_counter() - began))


def _noting(work: Callable[[], dict[str, Any]], bound: bool) -> tuple[dict[str, Any], dict[str, str]]:
    """Do the work with one thread for linear algebra.

    The report gets what of the environment was asked for; besides, what was added to it.
    """
    if bound:
        os.environ.update((name, "1") for name in THREADS)
    kept, before = os.environ._data, dict(os.environ)  # type: ignore[attr-defined]
    noted = _Noted(kept)
    os.environ._data = os.environb._data = noted  # type: ignore[attr-defined]
    try:
        report = work()
    finally:
        kept.clear()
        kept.update(noted)
        os.environ._data = os.environb._data = kept  # type: ignore[attr-defined]
        if bound:
            for name in THREADS:
                os.environ.pop(name, None)
    added = {name: value for name, value in os.environ.items() if before.get(name) != value and name not in THREADS}
    return dict(report, asked=sorted(_Noted.asked.difference(THREADS))), added


def _belongs(name: str, inside: tuple[str, ...]) -> bool:
    """Tell whether a name leads into the environment's packages."""
    try:
        spec = importlib.util.find_spec(imports.top(name))
    except (ImportError, ValueError):
        return False
    if spec is None or imports.top(name) in imports.NEVER:
        return False
    places = [spec.origin] if spec.has_location else list(spec.submodule_search_locations or ())
    return bool(places) and all(isinstance(place, str) and place.startswith(inside) for place in places)


def _import(name: str, skipped: dict[str, str]) -> None:
    try:
        importlib.import_module(name)
    except BaseException as error:  # the script's own import will tell, if it matters
        skipped[name] = f"{type(error).__name__}: {error}"[:200]


def _away(fd: int) -> int:
    """Move a descriptor away from the low numbers, which belong to the instances."""
    moved = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, AWAY)
    os.close(fd)
    return moved


def threads() -> int:
    return len(os.listdir("/proc/self/task"))


def _open_files() -> list[str]:
    links = []
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            links.append(os.readlink("/proc/self/fd/" + fd))
    return links


def _drain(fd: int) -> None:
    with contextlib.suppress(BlockingIOError):
        while os.read(fd, 4096):
            pass


def _boot() -> str:
    return os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "boot.py")


def _reseed(loaded: Callable[[str], Any]) -> None:
    """Make random what a copy would share with the others. Python's own random and OpenSSL do so themselves."""
    numpy_random = loaded("numpy.random")
    if numpy_random is not None:
        numpy_random.seed()
    ids = loaded("uuid")
    if ids is not None:
        ids._node = ids._last_timestamp = None
    processes = loaded("multiprocessing.process")
    if processes is not None:
        processes.current_process().authkey = os.urandom(32)
    files = loaded("tempfile")
    if files is not None:
        files.tempdir = None  # which follows the environment
