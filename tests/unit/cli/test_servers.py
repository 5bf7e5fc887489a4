"""`magent servers`: the table, JSON, and --check."""

import json
from dataclasses import replace

import click
import pytest

from memagent import cli
from tests.support.control_stand_in import NOW_S, SERVER, WARM, answers, snapshot_of

DOWN = replace(
    SERVER,
    name="b",
    state="down",
    since_s=NOW_S - 12,
    reason="connection refused",
    journal_keys=12345,
)
WARMING = replace(SERVER, name="x", backup=True, state="warming", warm=WARM, since_s=NOW_S - 130)


@pytest.fixture
def show(stand_in, capfd):
    def run(*servers, arguments=()):
        with stand_in(answers(snapshot_of(*servers))) as proxy:
            code = cli.call(["servers", "--socket", proxy.path, *arguments])
        return code, capfd.readouterr().out

    return run


def test_the_table(show):
    code, out = show(SERVER, DOWN, WARMING)
    assert code == 0
    assert out.splitlines() == [
        "NAME  ADDRESS         ROLE    STATE      FOR  JOURNAL  WARM  LEFT  LAST REASON",
        "a     10.0.0.1:11211  server  up         2 h        -     -     -  started",
        "b     10.0.0.1:11211  server  down      12 s   12,345     -     -  connection refused",
        "x     10.0.0.1:11211  backup  warming  2 min        -  43 %  27 s  started",
    ]


def test_a_paused_re_warm_says_so_and_one_that_is_over_is_not_shown(show):
    paused = replace(WARMING, warm=replace(WARM, state="paused", eta_s=None))
    over = replace(SERVER, warm=replace(WARM, state="done"))
    _, out = show(paused, over)
    assert "43 % paused     -" in out
    assert out.splitlines()[2].split()[-4:] == ["-", "-", "-", "started"]


def test_json(show):
    code, out = show(SERVER, WARMING, arguments=["--json"])
    assert code == 0
    first, second = json.loads(out)
    assert (first["name"], first["state"], first["warm"]) == ("a", "up", None)
    assert second["backup"] is True
    assert second["warm"]["per_cent"] == 43.0


@pytest.mark.parametrize(("servers", "code"), [((SERVER,), 0), ((SERVER, DOWN), 1), ((WARMING,), 1)])
def test_check(show, servers, code):
    assert show(*servers, arguments=["--check"])[0] == code
    assert show(*servers)[0] == 0


def test_the_state_is_painted_and_nothing_moves(show, monkeypatch):
    _, plain = show(SERVER, DOWN)
    monkeypatch.setattr("click.utils.should_strip_ansi", lambda *_: False)
    monkeypatch.delenv("NO_COLOR", raising=False)
    _, painted = show(SERVER, DOWN)
    assert "\x1b[31mdown" in painted
    assert "\x1b[32mup" in painted
    # what is behind the state is padded where it is painted
    assert [line.split() for line in click.unstyle(painted).splitlines()] == [
        line.split() for line in plain.splitlines()
    ]


def test_no_proxy(tmp_path, capsys):
    assert cli.call(["servers", "--socket", str(tmp_path / "none")]) == 1
    err = capsys.readouterr().err
    assert err.startswith(f"magent: error: no proxy listens at {tmp_path}/none\nhint: is it running?")
