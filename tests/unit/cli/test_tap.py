"""`magent tap`: lines as they come, what was left out, JSON."""

import json
from dataclasses import replace

import pytest

from memagent import cli
from memagent.observed import Phase, Seen, Tapped
from memagent.snapshot import as_json

SEEN = Seen(
    *(1_800_000_000.25, 1, "get", "k", "aw==", 1, 1, "HIT", "10.0.0.9:5", 120),
    phases=(Phase("first", "a", 120),),
)
OTHER = replace(SEEN, verb="set", key="\x1b[1mb", result="STORED", us=4_000)


@pytest.fixture
def show(stand_in, capfd):
    def run(looks: list[Tapped], *arguments: str):
        answer = [*({"progress": as_json(look)} for look in looks), {"error": "the proxy is ending"}]
        with stand_in(lambda request: answer) as proxy:
            code = cli.call(["tap", "--socket", proxy.path, *arguments])
        return code, *capfd.readouterr(), proxy.requests

    return run


def test_lines_until_the_proxy_ends(show):
    looks = [Tapped((), 0, 0), Tapped((SEEN,), 1, 1), Tapped((OTHER,), 5, 2)]
    code, out, err, requests = show(looks)
    assert (code, requests) == (1, [{"verb": "tap", "prefix": "", "of_verb": "", "per_s": 100}])
    first, second = out.splitlines()
    assert first.endswith("  get HIT             120 us  a  10.0.0.9:5  k")
    assert second.endswith("  set STORED          4.0 ms  a  10.0.0.9:5  \\x1b[1mb")
    assert err.splitlines()[0] == "3 more of 5 requests were left out"


def test_what_is_wanted(show):
    _, _, _, requests = show(
        [],
        "--prefix",
        "user:",
        "--server",
        "a",
        "--role",
        "backup",
        "--pool",
        "p",
        "--verb",
        "get",
        "--rate",
        "9",
    )
    assert requests == [
        {
            "verb": "tap",
            "prefix": "user:",
            "server": "a",
            "pool": "p",
            "backup": True,
            "of_verb": "get",
            "per_s": 9,
        }
    ]


@pytest.mark.parametrize(("count", "keys"), [("1", "k"), ("3", "kbk"), ("4", "kbkb")])
def test_it_ends_after_a_count(show, count, keys):
    both = Tapped((SEEN, replace(OTHER, key="b")), 9, 2)
    code, out, _, _ = show([both, both], "--count", count, "--json")
    assert code == 0
    assert "".join(json.loads(line)["key"] for line in out.splitlines()) == keys


@pytest.mark.parametrize(
    "arguments", [["--rate", "0"], ["--rate", "100000"], ["--count", "0"], ["--role", "x"]]
)
def test_mistakes(arguments, capfd):
    assert cli.call(["tap", *arguments]) == 2
    assert "Invalid value" in capfd.readouterr().err
