"""`magent slow`: the table, what was not kept, JSON."""

import json
from dataclasses import replace

import pytest

from memagent import cli
from memagent.observed import Phase, Seen, Slow
from memagent.snapshot import as_json

SEEN = Seen(
    *(1_800_000_000.25, 1, "get", "k", "aw==", 1, 1, "HIT", "10.0.0.9:5", 250_120),
    phases=(Phase("first", "a", 250_120),),
)


@pytest.fixture
def show(stand_in, capfd):
    def run(found: Slow, *arguments: str):
        with stand_in(lambda request: [{"ok": True, "slow": as_json(found)}]) as proxy:
            code = cli.call(["slow", "--socket", proxy.path, *arguments])
        return code, *capfd.readouterr(), proxy.requests

    return run


def test_the_table_has_the_newest_last(show):
    older = replace(
        SEEN,
        ended_s=SEEN.ended_s - 1,
        key="x\x1b[2J",
        client="",
        result="client left",
        phases=(Phase("first", "a", 120), Phase("fallback", "b", 250_000)),
    )
    code, out, err, requests = show(Slow(100, 12_345, (SEEN, older)), "--count", "2")
    assert (code, requests) == (0, [{"verb": "slow", "count": 2}])
    header, first, last = out.splitlines()
    assert header.split() == [
        "WHEN",
        "TOOK",
        "VERB",
        "RESULT",
        "CLIENT",
        "WHERE",
        "THE",
        "TIME",
        "WENT",
        "KEY",
    ]
    assert first.endswith("250.1 ms  get   client left  -           a 120 us, fallback b 250.0 ms  x\\x1b[2J")
    assert last.endswith("250.1 ms  get   HIT          10.0.0.9:5  a                              k")
    assert err == "and 12,343 more since the proxy was started, which are older or were too many at once\n"


def test_none_was_slow(show):
    assert show(Slow(100, 0, ())) == (
        0,
        "",
        "no request took 100 ms or longer\n",
        [{"verb": "slow", "count": 100}],
    )


def test_json(show):
    found = Slow(100, 1, (SEEN,))
    code, out, err, _ = show(found, "--json")
    assert (code, err) == (0, "")
    assert json.loads(out) == json.loads(json.dumps(as_json(found)))
