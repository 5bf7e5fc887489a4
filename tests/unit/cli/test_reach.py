"""What the commands for a running proxy share."""

import json

from memagent.cli.reach import print_json, talk, which


def test_which_server_is_meant():
    assert which("a", None, None) == {"server": "a", "pool": None, "backup": None}
    assert which("a", "main", "backup") == {"server": "a", "pool": "main", "backup": True}
    assert which("a", None, "server")["backup"] is False


def test_json_is_one_line_of_utf8(capfdbinary):
    print_json({"key": "ключ"})
    print_json({"key": "x\udcff"})
    first, second = capfdbinary.readouterr().out.splitlines()
    assert first.decode() == '{"key":"ключ"}'
    assert second.isascii()
    assert json.loads(second)["key"].encode(errors="surrogateescape") == b"x\xff"


def test_talk_stays_out_of_the_data(capfd):
    talk("a word")
    assert capfd.readouterr() == ("", "a word\n")
