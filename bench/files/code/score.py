"""The least that a scoring script can do: decode, and answer a number a row."""

import json


def init():
    """Nothing to load."""


def run(raw):
    """Answer 0 for each row of {"data": [[...], ...]}."""
    return [0 for _ in json.loads(raw)["data"]]
