"""Timed steps of a flow, one JSON line each on stdout.

The test that starts a flow reads these lines; everything else a client prints
goes by unread.

Of each step it is told where its time went: waiting for answers (from the last byte of a request to the first
of its answer, so the platform's own time and the way there and back), waiting for the program `az`, pausing
between polls, and the rest, which is the client's own: what it computes, reads, writes and encrypts. Where
threads do several of these at once, the first of the list counts. The functions that are watched for this are
the standard library's; the clients are as they were installed.
"""

import contextlib
import http.client
import json
import subprocess
import time

WAITS = ("answers", "az", "pauses")
_waited = []  # (kind, begin, end) of any thread


def _watch(owner, name, kind):
    """Note when a function of the standard library begins and ends."""
    function = getattr(owner, name)

    def watched(*args, **kwargs):
        begin = time.perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            _waited.append((kind, begin, time.perf_counter()))

    setattr(owner, name, watched)


_watch(http.client.HTTPConnection, "getresponse", "answers")
_watch(subprocess, "check_output", "az")
_watch(subprocess, "run", "az")
_watch(time, "sleep", "pauses")


@contextlib.contextmanager
def step(name):
    """Time the block and report all of it ("seconds"), the WAITS, what is the client's "own", and its "cpu" time."""
    begin, cpu = time.perf_counter(), time.process_time()
    yield
    end = time.perf_counter()
    parts = _split(begin, end)
    parts["cpu"] = time.process_time() - cpu
    report(step=name, seconds=round(end - begin, 3), **{part: round(seconds, 4) for part, seconds in parts.items()})


def _split(begin, end):
    """Divide the time from begin to end: each moment counts once."""
    inside = [(kind, max(b, begin), min(e, end)) for kind, b, e in list(_waited) if e > begin and b < end]
    marks = sorted({begin, end, *(m for _, b, e in inside for m in (b, e))})
    parts = dict.fromkeys((*WAITS, "own"), 0.0)
    for left, right in zip(marks, marks[1:]):
        kinds = {kind for kind, b, e in inside if b <= left and right <= e}
        parts[next((kind for kind in WAITS if kind in kinds), "own")] += right - left
    return parts


def report(**fields):
    """Write one line that the test reads."""
    print(json.dumps(fields), flush=True)


def expect(truth, what):
    """Stop the flow where an answer is not what the client should get."""
    if not truth:
        raise SystemExit(f"expected {what}")
