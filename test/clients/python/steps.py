"""Timed steps of a flow, one JSON line each on stdout.

The test that starts a flow reads these lines; everything else a client prints
goes by unread.
"""

import contextlib
import json
import time


@contextlib.contextmanager
def step(name):
    """Time the block and report it as {"step": name, "seconds": s}."""
    begin = time.perf_counter()
    yield
    report(step=name, seconds=round(time.perf_counter() - begin, 3))


def report(**fields):
    """Write one line that the test reads."""
    print(json.dumps(fields), flush=True)


def expect(truth, what):
    """Stop the flow where an answer is not what the client should get."""
    if not truth:
        raise SystemExit(f"expected {what}")
