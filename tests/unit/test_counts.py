"""All counters at one moment, and their way through JSON."""

import json

import pytest

from memagent.counts import Counts, ServerCounts
from memagent.snapshot import as_json, from_json

COUNTS = Counts(
    at_s=5.5,
    counters={"requests": 7},
    latency=(1, 0),
    servers=(ServerCounts(0, {"requests": 3, "errors": 0}, (0, 2)),),
    latency_bounds_us=(16,),
)


def test_json_and_back():
    assert from_json(Counts, json.loads(json.dumps(as_json(COUNTS)))) == COUNTS


@pytest.mark.parametrize("counters", [None, [], {"requests": "many"}])
def test_no_numbers_by_name(counters: object):
    with pytest.raises(ValueError, match=r"not an object|many"):
        from_json(Counts, {**as_json(COUNTS), "counters": counters})
