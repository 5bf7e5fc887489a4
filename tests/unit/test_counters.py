"""The table of counters."""

import re

from memagent.counters import (
    COUNTERS,
    SERVER_COUNTERS,
    SERVER_GAUGES,
    WORKER_COUNTERS,
    WORKER_GAUGES,
)


def test_names_are_unique_in_their_scope_and_fit_a_stat_line():
    for table in (WORKER_COUNTERS, SERVER_COUNTERS):
        assert len({c.name for c in table}) == len(table)
    for counter in COUNTERS:
        assert re.fullmatch(r"[a-z][a-z0-9_]*", counter.name)
        assert counter.meaning
        assert counter.unit


def test_only_gauges_fold_other_than_by_a_sum():
    assert {c.name for c in COUNTERS if c.fold != "sum"} == {"up", "state"}
    assert WORKER_COUNTERS[WORKER_GAUGES[0]].name == "curr_connections"
    assert all(SERVER_COUNTERS[i].kind == "gauge" for i in SERVER_GAUGES)
