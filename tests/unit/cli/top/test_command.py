"""`magent top`: the table of scripts, JSON, and what is said where there is no terminal."""

import json
from dataclasses import replace

import pytest

from memagent import cli
from memagent.snapshot import as_json
from tests.support.control_stand_in import MOVING, SERVER, counts_of, snapshot_of

B = replace(SERVER, name="b", state="down", journal_keys=12)


@pytest.fixture
def top(stand_in, capfd):
    """Against a proxy that is asked something 10 times between two readings."""
    readings = iter(range(1000))
    migrations = ()

    def answer(request):
        assert request == {"verb": "counters"}
        snapshot = replace(snapshot_of(SERVER, B), migrations=migrations)
        number = next(readings)
        counts = counts_of(snapshot, 100.0 + number, requests=10 * number, get_hits=9 * number)
        return [{"ok": True, "snapshot": as_json(snapshot), "counts": as_json(counts)}]

    def run(*arguments, moving=()):
        nonlocal migrations
        migrations = moving
        with stand_in(answer) as proxy:
            code = cli.call(["top", "--socket", proxy.path, "--interval", "200ms", *arguments])
        return code, *capfd.readouterr()

    return run


def test_once(top):
    code, out, err = top("--once")
    assert (code, err) == (0, "")
    header, first, second = (line.split() for line in out.splitlines())
    assert header[:6] == ["NAME", "ROLE", "STATE", "FOR", "OPS/S", "HIT"]
    assert header[-2:] == ["LAST", "REASON"]
    assert first[:7] == ["a", "server", "up", "2", "h", "10", "100%"]
    assert second[0] == "b"
    assert "\x1b" not in out


def test_sorted(top):
    _, out, _ = top("--once", "--sort", "journal")
    assert [line.split()[0] for line in out.splitlines()] == ["NAME", "b", "a"]


def test_json(top):
    code, out, _ = top("--json")
    assert code == 0
    told = json.loads(out)
    assert (told["clients"], told["requests_per_s"]) == (0, 0)
    first = told["servers"][0]
    assert (first["name"], first["state"], first["requests_per_s"], first["hit_ratio"]) == ("a", "up", 10, 1)
    assert (first["p99_us"], first["queued"]) == (None, 0)


def test_keys_that_move(top):
    moving = (MOVING, replace(MOVING, pool="b", ended_s=1.0))
    code, out, _ = top("--once", moving=moving)
    assert code == 0
    assert [line.partition(",")[0] for line in out.splitlines()[3:]] == ["pool main: copying: 50 %"]
    told = json.loads(top("--json", moving=moving)[1])
    assert [each["keys_copied"] for each in told["migrations"]] == [1200, 1200]


def test_without_a_terminal(top):
    code, out, err = top()
    assert (code, out) == (2, "")
    assert "magent top needs a terminal" in err
    assert "hint: magent top --once" in err


@pytest.mark.parametrize("arguments", [["--once"], ["--json"]])
def test_no_proxy(tmp_path, capsys, arguments):
    assert cli.call(["top", "--socket", str(tmp_path / "none"), *arguments]) == 1
    assert f"no proxy listens at {tmp_path}/none\nhint: is it running?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--interval", "1ms"], "must be from 0.2 to 60"),
        (["--interval", "soon"], "must be a time"),
        (["--sort", "colour"], "'colour' is not one of"),
    ],
)
def test_mistakes(top, arguments, says):
    code, out, err = top("--once", *arguments)
    assert (code, out) == (2, "")
    assert says in err
