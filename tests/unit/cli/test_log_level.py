"""`magent log-level`: asked, told, mistaken."""

import json

import pytest

from memagent import cli


@pytest.fixture
def run(stand_in, capfd):
    level = ["info"]

    def answer(request):
        assert request["verb"] == "log_level"
        level[0] = request.get("level", level[0])
        return [{"ok": True, "level": level[0]}]

    proxy = stand_in(answer)

    def call(*arguments):
        code = cli.call(["log-level", "--socket", proxy.path, *arguments])
        return code, *capfd.readouterr()

    return call


def test_asked_and_told(run):
    assert run() == (0, "info\n", "")
    assert run("debug") == (0, "debug\n", "")
    assert json.loads(run("--json")[1]) == {"level": "debug"}


def test_for_some_time(run, stand_in, capfd):
    asked = []

    def answer(request):
        asked.append(request)
        return [{"ok": True, "level": "debug"}]

    with stand_in(answer, "other.sock") as proxy:
        assert cli.call(["log-level", "--socket", proxy.path, "debug", "--for", "10m"]) == 0
    assert asked == [{"verb": "log_level", "level": "debug", "for_s": 600.0}]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [(["--for", "10m"], "without a LEVEL"), (["debug", "--for", "1ms"], "must be from 1 to 604,800")],
)
def test_a_time_that_makes_no_sense(run, arguments, says):
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert says in err


def test_no_level(run):
    code, out, err = run("loud")
    assert (code, out) == (2, "")
    assert "'loud' is not one of 'info', 'debug'" in err
