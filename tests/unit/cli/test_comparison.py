"""`magent check --diff`: what is printed of changes and of keys that move."""

import io
from types import SimpleNamespace

import pytest

from memagent import cli
from memagent.cli.comparison import read_keys
from memagent.errors import ConfigError
from memagent.settings import PoolConfig
from tests.support.control_stand_in import SERVER, answers, snapshot_of

OLD = "pools: {m: {servers: [{address: a, name: x}, b, c], copies: 2}}"


@pytest.fixture
def files(tmp_path):
    def write(old, new):
        (tmp_path / "old.yaml").write_text(old)
        (tmp_path / "new.yaml").write_text(new)
        return str(tmp_path / "old.yaml"), str(tmp_path / "new.yaml")

    return write


def test_against_a_file(files, capsys):
    old, new = files(OLD, OLD.replace("address: a", "address: z") + "\nworkers: 200\n")
    assert cli.call(["check", new, "--old", old, "--sample", "1k".replace("k", "000")]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    lines = out.splitlines()
    assert lines[:4] == [f"{new}: good", f"changes against {old}:", "", "WHAT               NOW  THEN"]
    assert lines[4].startswith("workers ")
    assert lines[5] == 'pool "m": servers  x a  x z'
    assert lines[7] == 'of 1000 made-up keys in the pool "m":'
    assert [line.split("%")[1].strip() for line in lines[9:]] == [
        "get another owner",
        "have their owner on another machine",
        "get another copy",
        "are not found again: they miss until they are written anew",
    ]
    assert lines[9].split()[:2] == ["0", "0.0"]
    assert lines[12].split()[:2] == ["0", "0.0"]


def test_keys_that_are_copied_are_not_lost(files, capsys):
    plain = "pools: {m: {servers: [a, b], on_change: migrate}}"
    old, new = files(plain, plain.replace("b]", "b, c]"))
    assert cli.call(["check", new, "--old", old]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.endswith("are copied by a reload (on_change: migrate)")
    assert last.split()[0] != "0"


def test_nothing_changes(files, capsys):
    old, new = files(OLD, OLD)
    assert cli.call(["check", new, "--old", old]) == 0
    assert capsys.readouterr().out == f"{new}: good\nnothing changes against {old}\n"


def test_against_the_running_proxy(files, stand_in, capsys):
    pool = PoolConfig.model_validate({"name": "m", "servers": ["a", "b"]})
    proxy = stand_in(answers(snapshot_of(SERVER), pool))
    _, new = files(OLD, f"control_socket: {proxy.path}\npools: {{m: {{servers: [a, b, c]}}, }}")
    for arguments in (["--diff"], ["--diff", "--socket", proxy.path]):
        assert cli.call(["check", new, *arguments]) == 0
        out = capsys.readouterr().out
        assert f"changes against the proxy at {proxy.path}:" in out
        assert 'pool "m": servers  -     c:11211' in out
        assert "are not found again" in out


def test_keys_of_ones_own(files, tmp_path, capsys, monkeypatch):
    old, new = files(OLD, OLD.replace(", c]", "]"))
    keys = tmp_path / "keys"
    keys.write_bytes(b"user:1\nuser:2\r\n\nuser:3")
    assert cli.call(["check", new, "--old", old, "--keys", str(keys)]) == 0
    assert 'of 3 given keys in the pool "m":' in capsys.readouterr().out
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(b"user:1\n")))
    assert read_keys("-") == [b"user:1"]


def test_keys_that_are_none(tmp_path):
    keys = tmp_path / "keys"
    keys.write_bytes(b"a\nb c\n" + b"x" * 251)
    with pytest.raises(ConfigError) as caught:
        read_keys(str(keys))
    assert [line.partition(": key")[0] for line in caught.value.message.splitlines()] == [
        f"{keys}, line 2",
        f"{keys}, line 3",
    ]
    keys.write_bytes(b"\n")
    with pytest.raises(ConfigError, match="there is no key in it"):
        read_keys(str(keys))
    with pytest.raises(ConfigError, match="no such file"):
        read_keys(str(tmp_path / "none"))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--diff", "--old", "OLD"], "give either --diff or --old"),
        (["--keys", "x"], "give --diff or --old too"),
        (["--socket", "x"], "give --diff or --old too"),
        (["--old", "OLD", "--sample", "0"], "must be from 1 to 10,000,000"),
        (["--old", "none.yaml"], "none.yaml: no such file"),
    ],
)
def test_what_cannot_be_compared(files, arguments, says, capsys):
    old, new = files(OLD, OLD)
    assert cli.call(["check", new, *(old if each == "OLD" else each for each in arguments)]) == 2
    assert says in capsys.readouterr().err


def test_nobody_to_compare_with(files, tmp_path, capsys):
    _, new = files(OLD, OLD)
    assert cli.call(["check", new, "--diff", "--socket", str(tmp_path / "none.sock")]) == 1
    assert "no proxy listens at" in capsys.readouterr().err


def test_given_keys_that_another_pool_takes(files, capsys, tmp_path):
    old = "pools: {m: {servers: [a]}, u: {servers: [b], prefixes: ['u:']}}"
    given = tmp_path / "keys"
    given.write_text("u:1\nu:2\nv:1\nx\n")
    old_path, new_path = files(old, old.replace("['u:']", "['v:', 'u:2']"))
    assert cli.call(["check", new_path, "--old", old_path, "--keys", str(given)]) == 0
    out = capsys.readouterr().out
    assert 'of 1 given keys in the pool "m":' in out
    assert 'of 1 given keys in the pool "u":' in out
    assert out.endswith("\n2 of 4 given keys get another pool, another prefix or none\n")
