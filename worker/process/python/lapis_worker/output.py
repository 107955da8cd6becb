"""json.dumps(), without what it does anew for each call."""

from __future__ import annotations

import json
from json import encoder
from typing import Any, Callable

_DUMPS = json.dumps


def dumper() -> Callable[[Any], str]:
    """Return what writes a value as json.dumps() does, also if the script has changed how that does it."""
    make = encoder.c_make_encoder
    if make is None:
        return lambda value: json.dumps(value)

    def made() -> Any:
        # The default is looked up late: scripts put a method of theirs into JSONEncoder.
        return make({}, lambda value: json._default_encoder.default(value), quote, None, ": ", ", ", False, False, True)

    quote = encoder.encode_basestring_ascii
    write = made()

    def dump(value: Any) -> str:
        nonlocal write
        if json.dumps is not _DUMPS:
            return json.dumps(value)
        if isinstance(value, str):
            return quote(value)
        try:
            return "".join(write(value, 0))
        except BaseException:
            write = made()  # the old one remembers where it was
            raise

    return dump
