"""`magent reload`: what the proxy says is shown; what it does is in tests/functional/test_reload.py."""

import json
from typing import Any

import pytest

from memagent import cli
from memagent.cli.running import RunningProxy


class Answers:
    """A proxy that says always the same."""

    def __init__(self, answer: dict[str, Any]) -> None:
        self.answer = answer

    def __enter__(self) -> "Answers":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def ask(self, verb: str) -> dict[str, Any]:
        assert verb == "reload"
        return self.answer


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Answers:
    made = Answers({"ok": True, "changes": ["pool main: server a:1 goes"], "waiting": ["user", "group"]})
    monkeypatch.setattr(RunningProxy, "find", lambda *_: made)
    return made


def test_what_has_changed_and_what_waits(proxy: Answers, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.call(["reload"]) == 0
    said = capsys.readouterr()
    assert said.out == "pool main: server a:1 goes\n"
    assert said.err == "these wait for the next start: user, group\n"


def test_nothing(proxy: Answers, capsys: pytest.CaptureFixture[str]) -> None:
    proxy.answer = {"ok": True, "changes": [], "waiting": []}
    assert cli.call(["reload"]) == 0
    assert capsys.readouterr() == ("", "nothing has changed\n")


def test_keys_that_move(proxy: Answers, capsys: pytest.CaptureFixture[str]) -> None:
    proxy.answer = {"ok": True, "changes": ["a change"], "waiting": [], "moving": ["main"]}
    assert cli.call(["reload"]) == 0
    assert capsys.readouterr() == (
        "a change\n", "keys of main are copied to their new servers: magent migration shows it\n"
    )  # fmt: skip


def test_json(proxy: Answers, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    assert cli.call(["reload", "--json"]) == 0
    assert json.loads(capsysbinary.readouterr().out) == {
        "changes": ["pool main: server a:1 goes"],
        "waiting": ["user", "group"],
        "moving": [],
    }
