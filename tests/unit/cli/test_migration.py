"""`magent migration`: what it asks, what it shows."""

import json
from dataclasses import replace

import pytest

from memagent import cli
from memagent.snapshot import as_json
from tests.support.control_stand_in import MOVING, NOW_S, SERVER, snapshot_of

ENDED = replace(MOVING, state="done", phase="settle", ended_s=NOW_S, target=None, eta_s=None)


@pytest.fixture
def run(stand_in, capfd):
    def call(arguments, *migrations):
        left = list(migrations)

        def answer(request):
            if request["verb"] != "snapshot":
                return [{"ok": True}]
            now = left.pop(0) if len(left) > 1 else left[0]
            shown = replace(snapshot_of(SERVER), migrations=now)
            return [{"ok": True, "snapshot": as_json(shown)}]

        with stand_in(answer) as proxy:
            code = cli.call(["migration", *arguments, "--socket", proxy.path])
            return (code, *capfd.readouterr(), [request["verb"] for request in proxy.requests])

    return call


def test_what_is_shown(run):
    code, out, _, asked = run([], (MOVING,))
    assert (code, asked) == (0, ["snapshot"])
    assert out.splitlines() == [
        "pool main: copying: 50 %, 1,200 keys copied, 5000B, 100 copied/s, 60 s left",
        "  coming: c:1",
        "  leaving: b:1",
        "  now at: c:1",
    ]
    waiting = replace(MOVING, state="paused", waits_for="c:1 is down", left_out=("b:1 is down",))
    _, out, _, _ = run([], (waiting,))
    assert out.splitlines()[0].startswith("pool main: paused: 50 %")
    assert out.splitlines()[-2:] == ["  waits: c:1 is down", "  not copied: b:1 is down"]
    _, out, _, _ = run([], (ENDED,))
    assert out.splitlines()[0] == "pool main: done: 1,200 keys copied, 5000B, in 60 s"


def test_none(run):
    assert run([], ())[:3] == (0, "", "no keys are moving\n")
    assert run(["--pool", "x"], (MOVING,))[1] == ""
    code, out, _, _ = run(["--json"], (MOVING,))
    assert (code, json.loads(out)["migrations"][0]["state"]) == (0, "running")


@pytest.mark.parametrize("action", ["pause", "resume", "abort"])
def test_what_is_asked(run, action):
    assert run([f"--{action}"], (MOVING,))[3] == [f"migration_{action}", "snapshot"]


def test_until_it_has_ended(run, monkeypatch):
    monkeypatch.setattr("memagent.cli.migration._LOOK_S", 0.0)
    assert run(["--wait"], (MOVING,), (MOVING,), (ENDED,))[0] == 0
    assert run(["--wait"], (MOVING,), (replace(ENDED, left_out=("b:1 is down",)),))[0] == 1
    assert run(["--wait"], (replace(ENDED, state="aborted"),))[0] == 1
