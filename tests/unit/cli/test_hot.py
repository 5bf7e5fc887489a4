"""`magent hot`: the table, JSON, and keys that would steer a terminal."""

import json

import pytest

from memagent import cli
from memagent.observed import Hot, HotKey
from memagent.snapshot import as_json

KEY = HotKey("user:1", "dXNlcjox", 1234.5, 1200.0, 1300.0, 0.4321, 1234.5, 0.0, "cache-1")


@pytest.fixture
def show(stand_in, capfd):
    def run(found: Hot, *arguments: str):
        with stand_in(lambda request: [{"ok": True, "hot": as_json(found)}]) as proxy:
            code = cli.call(["hot", "--socket", proxy.path, *arguments])
        return code, *capfd.readouterr(), proxy.requests

    return run


def test_the_table(show):
    rare = HotKey("item\x1b[31m\u202e", KEY.key_base64, 0.25, 0.2, 9.94, 0.0001, 0.15, 0.1, None)
    code, out, err, requests = show(Hot(2857.0, 3.0, (KEY, rare)), "--count", "7")
    assert (code, err, requests) == (0, "", [{"verb": "hot", "count": 7}])
    assert out.splitlines() == [
        "2,857 requests/s",
        "REQUESTS/S  AT LEAST  AT MOST  SHARE  READS/S  WRITES/S  SERVER   KEY",
        "     1,234     1,200    1,300  43.2%    1,234         0  cache-1  user:1",
        "       0.2       0.2      9.9   0.0%      0.1       0.1  -        item\\x1b[31m\\xe2\\x80\\xae",
    ]


def test_nothing_is_hot(show):
    code, out, err, _ = show(Hot(0.0, 0.0, ()))
    assert (code, err) == (0, "no key stands out\n")
    assert out.startswith("0 requests/s\n")


def test_json(show):
    found = Hot(1.0, 0.5, (KEY,))
    code, out, _, _ = show(found, "--json")
    assert code == 0
    assert json.loads(out) == {**as_json(found), "keys": [as_json(KEY)]}


def test_watched_it_is_shown_again_and_again(stand_in, capfd, monkeypatch):
    monkeypatch.setattr("memagent.cli.hot._EVERY_S", 0.001)
    answers = iter([Hot(1.0, 0.0, ()), Hot(2.0, 0.0, ())])

    def answer(request):
        found = next(answers, None)
        return [{"ok": True, "hot": as_json(found)}] if found else [{"error": "the proxy is ending"}]

    with stand_in(answer) as proxy:
        assert cli.call(["hot", "--socket", proxy.path, "--watch"]) == 1
    out, err = capfd.readouterr()
    assert [line for line in out.splitlines() if "requests/s" in line] == ["1 requests/s", "2 requests/s"]
    assert "the proxy is ending" in err


def test_a_mistake(stand_in, capfd):
    assert cli.call(["hot", "--count", "0"]) == 2
    assert "1<=x<=1000" in capfd.readouterr().err
