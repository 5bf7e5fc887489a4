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


def test_no_level(run):
    code, out, err = run("loud")
    assert (code, out) == (2, "")
    assert "'loud' is not one of 'info', 'debug'" in err
