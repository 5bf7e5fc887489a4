"""`magent rewarm`: start, hold, end, and how it is watched."""

import json
from dataclasses import replace

import pytest
from rich.console import Console

from memagent import cli
from memagent.cli import rewarm as module
from tests.support.control_stand_in import NOW_S, SERVER, WARM, done, progress

WARMING = replace(SERVER, state="warming", warm=WARM)
DONE = replace(
    SERVER,
    warm=replace(
        WARM,
        state="done",
        keys_done=1000,
        keys_copied=990,
        bytes_copied=99_000,
        per_cent=100.0,
        ended_s=NOW_S,
    ),
)


def at(per_cent, **more):
    return replace(WARMING, warm=replace(WARM, per_cent=per_cent, keys_done=int(per_cent * 10), **more))


@pytest.fixture
def run(stand_in, capfd):
    def call(arguments, *lines):
        with stand_in(lambda request: lines) as proxy:
            code = cli.call(["rewarm", *arguments, "--socket", proxy.path])
            return (code, *capfd.readouterr(), proxy.requests)

    return call


@pytest.mark.parametrize(
    ("arguments", "request_"),
    [
        (["a"], {"verb": "rewarm", "server": "a", "wait": True}),
        (["a", "--no-wait"], {"verb": "rewarm", "server": "a", "wait": False}),
        (["a", "--pause"], {"verb": "rewarm_pause", "server": "a"}),
        (["a", "--resume", "--role", "backup"], {"verb": "rewarm_resume", "server": "a", "backup": True}),
        (["a", "--abort"], {"verb": "rewarm_abort", "server": "a"}),
    ],
)
def test_what_is_asked(run, arguments, request_):
    code, _, _, requests = run(arguments, done(WARMING))
    assert (code, requests) == (0, [request_])


def test_lines_where_nobody_watches(run):
    steps = [
        # with what is known of the last one
        replace(DONE, state="returning"),
        replace(WARMING, warm=None),
        at(0, keys_total=None, eta_s=None, keys_per_s=0.0),
        *(at(per_cent) for per_cent in (5, 11, 12, 19, 20)),
        at(20, state="paused"),
        at(25, state="paused"),
    ]
    code, out, err, _ = run(["a"], *map(progress, steps), done(DONE))
    assert code == 0
    assert err.splitlines() == [
        "a returning: about to begin",
        "a warming: about to begin",
        "a warming: 0 %, 0 keys, 0 copied/s",
        "a warming: 11 %, 110 of 1,000 keys, 20 copied/s, 27 s left",
        "a warming: 20 %, 200 of 1,000 keys, 20 copied/s, 27 s left",
        "a warming: 20 %, 200 of 1,000 keys, paused",
    ]
    assert out.splitlines() == [
        "server a (10.0.0.1:11211) is up",
        "re-warm done: 990 keys copied, 96KiB, in 60 s",
    ]


def test_a_bar_on_a_terminal(run, monkeypatch):
    monkeypatch.setattr(
        module, "Console", lambda stderr: Console(stderr=stderr, force_terminal=True, width=100)
    )
    code, out, err, _ = run(["a"], progress(at(11)), progress(at(43)), done(DONE))
    assert code == 0
    assert "a warming" in err
    assert "43%" in err
    assert "430 of 1,000 keys, 20 copied/s, 27 s left" in err
    assert out.startswith("server a (10.0.0.1:11211) is up\n")


@pytest.mark.parametrize("state", ["failed", "aborted"])
def test_one_that_does_not_come_to_its_end(run, state):
    over = replace(WARMING.warm, state=state, ended_s=NOW_S, reason="no source")
    code, out, _, _ = run(["a"], done(replace(SERVER, warm=over)))
    assert code == 1
    assert f"re-warm {state}: no source: 400 keys copied, 39KiB, in 60 s" in out


@pytest.mark.parametrize("state", ["done", "failed"])
def test_who_does_not_wait_is_not_told_of_the_last_one(run, state):
    """The one that was asked for has not begun: what is known is how the one before it ended."""
    before = replace(WARMING.warm, state=state, ended_s=NOW_S, reason="no source")
    code, out, _, _ = run(["a", "--no-wait"], done(replace(SERVER, state="draining", warm=before)))
    assert (code, out) == (0, "server a (10.0.0.1:11211) is draining\n")


def test_what_was_asked_to_end_is_no_failure(run):
    over = replace(WARMING.warm, state="aborted", ended_s=NOW_S)
    assert run(["a", "--abort"], done(replace(SERVER, warm=over)))[0] == 0


def test_json(run):
    code, out, _, _ = run(["a", "--pause", "--json"], done(at(20, state="paused")))
    assert code == 0
    assert json.loads(out)["warm"]["state"] == "paused"


def test_ctrl_c_ends_the_watching_alone(run, monkeypatch):
    def interrupted(steps):
        next(steps)
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "_told", interrupted)
    code, _, err, _ = run(["a"], progress(at(11)), done(DONE))
    assert code == 130
    assert "the re-warm goes on: magent rewarm a --abort ends it" in err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "Missing argument 'SERVER'"),
        (["a", "--pause", "--no-wait"], "--no-wait makes no sense with --pause"),
    ],
)
def test_mistakes(run, arguments, says):
    code, _, err, requests = run(arguments)
    assert (code, requests) == (2, [])
    assert says in err


def test_a_refusal(run):
    code, _, err, _ = run(["a"], {"error": "a is the only one", "hint": None})
    assert (code, err) == (1, "magent: error: a is the only one\n")
