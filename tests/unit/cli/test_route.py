"""`magent route`: where a key lives, for people and for programs."""

import io
import json
import sys

import pytest

from memagent import cli

# djb of magent, by hand: (5381 * 33 + c) & 0x7fffffff for one character
OWNER_OF_TWO = {key: (5381 * 33 + ord(key)) % 2 for key in "abcdef"}


@pytest.fixture
def stdin(monkeypatch):
    def give(data: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))

    return give


def rows(capfdbinary) -> list[dict]:
    return [json.loads(line) for line in capfdbinary.readouterr().out.splitlines()]


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "magent.yaml"
    path.write_text(
        "pools: {users: {servers: [{address: 10.0.0.1, name: a}, 10.0.0.2], backups: [b], "
        "distribution: modula, key_hash: djb}}"
    )
    return str(path)


def test_json_from_a_file(config, capfdbinary):
    assert cli.call(["route", "-c", config, "--json", *OWNER_OF_TWO]) == 0
    found = rows(capfdbinary)
    assert [row["index"] for row in found] == list(OWNER_OF_TWO.values())
    first = found[0]
    assert list(first) == ["key", "pool", "server", "index", "backup", "backup_index"]
    assert first["key"] == "a"
    assert first["pool"] == "users"
    assert first["server"] == ("a", "10.0.0.2:11211")[first["index"]]
    assert (first["backup"], first["backup_index"]) == ("b:11211", 0)


def test_one_line_is_exactly_this(capfdbinary):
    assert cli.call(["route", "-s", "10.0.0.1", "--json", "k"]) == 0
    assert capfdbinary.readouterr().out == (
        b'{"key":"k","pool":"main","server":"10.0.0.1:11211","index":0,"backup":null,"backup_index":null}\n'
    )


def test_magents_flags_as_they_stand_in_a_start_script(capfdbinary):
    line = (
        "-u root -n 51200 -l 192.168.1.2 -p12000 -s 10.0.0.1 -s 10.0.0.2 -b 10.0.0.3 -b 10.0.0.4 -D -v -i 20"
    )
    assert cli.call(["route", *line.split(), "--json", *OWNER_OF_TWO]) == 0
    found = rows(capfdbinary)
    assert {row["key"]: row["index"] for row in found} == OWNER_OF_TWO
    assert all(row["backup_index"] == row["index"] for row in found)


def test_k_moves_keys(capfdbinary):
    keys = [f"key{n}" for n in range(100)]
    assert cli.call(["route", "-s", "a", "-s", "b", "--json", *keys]) == 0
    plain = rows(capfdbinary)
    assert cli.call(["route", "-s", "a", "-s", "b", "-k", "--json", *keys]) == 0
    assert plain != rows(capfdbinary)


def test_the_second_copy_on_the_same_ring(tmp_path, capfdbinary):
    path = tmp_path / "magent.yaml"
    path.write_text("pools: {main: {servers: [a, b], copies: 2}}")
    assert cli.call(["route", "-c", str(path), "--json", "x", "y", "z"]) == 0
    for row in rows(capfdbinary):
        assert row["backup_index"] == 1 - row["index"]
        assert row["backup"] == ("a:11211", "b:11211")[row["backup_index"]]


def test_the_table(config, capfdbinary):
    assert cli.call(["route", "-c", config, "a", "b", "longer-key"]) == 0
    lines = capfdbinary.readouterr().out.decode().splitlines()
    assert lines[0].split() == ["KEY", "SERVER", "INDEX", "BACKUP", "INDEX"]
    assert [line.split()[0] for line in lines[1:]] == ["a", "b", "longer-key"]
    assert len({line.index("b:11211") for line in lines[1:]}) == 1


def test_the_table_without_backups_has_no_empty_columns(capfdbinary):
    assert cli.call(["route", "-s", "a", "k"]) == 0
    assert capfdbinary.readouterr().out == b"KEY  SERVER   INDEX\nk    a:11211  0\n"


def test_keys_from_standard_input(stdin, capfdbinary):
    stdin(b"one\r\ntwo\n\nthree")
    assert cli.call(["route", "-s", "a", "--json", "first", "-", "last"]) == 0
    assert [row["key"] for row in rows(capfdbinary)] == ["first", "one", "two", "three", "last"]


def test_more_keys_than_are_printed_at_once(stdin, capfdbinary):
    stdin(b"".join(b"key%d\n" % n for n in range(2500)))
    assert cli.call(["route", "-s", "a", "-"]) == 0
    assert len(capfdbinary.readouterr().out.splitlines()) == 2501


def test_keys_that_are_not_ascii(stdin, capfdbinary):
    stdin("ключ\n".encode() + b"x\xff\n")
    assert cli.call(["route", "-s", "a", "--json", "-"]) == 0
    first, second = capfdbinary.readouterr().out.splitlines()
    assert '"key":"ключ"' in first.decode()
    assert json.loads(second)["key"].encode(errors="surrogateescape") == b"x\xff"
    assert second.isascii()


def test_such_a_key_in_the_table_and_among_the_arguments(capfdbinary):
    assert cli.call(["route", "-s", "a", "x\udcff"]) == 0
    assert capfdbinary.readouterr().out.splitlines()[1].startswith(b"x\xff ")
    assert cli.call(["route", "-s", "a", "x\u202ey"]) == 0
    assert capfdbinary.readouterr().out.splitlines()[1].startswith(b"x\\xe2\\x80\\xaey ")


def test_bad_keys_are_all_named_and_the_good_ones_answered(stdin, capfdbinary):
    stdin(b"good\nb c\n" + b"k" * 251 + b"\n" + b"k" * 250 + b"\n")
    assert cli.call(["route", "-s", "a", "--json", "", "a b", "x\ty", "-"]) == 2
    out, err = capfdbinary.readouterr()
    assert [json.loads(line)["key"] for line in out.splitlines()] == ["good", "k" * 250]
    assert [line.removeprefix(b"magent: error: ").decode() for line in err.splitlines()] == [
        "a key must not be empty",
        'key "a b" has a space or a control character',
        'key "x\\ty" has a space or a control character',
        'standard input, line 2: key "b c" has a space or a control character',
        f'standard input, line 3: key "{"k" * 60}..." has 251 bytes, more than 250',
        "hint: a key has 1-250 bytes without a space or control character",
    ]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["k"], "no servers: give -c FILE, or magent's -s HOST:PORT"),
        (["-b", "x", "k"], "no servers"),
        (["-s", "a"], "no KEY"),
        (["-s", "a:0", "k"], '-s: "a:0": port must be 1-65535'),
        (["-c", "m.yaml", "-s", "a", "k"], "among magent's flags, -c reads magent's INI file"),
        (["-c", "no/such.yaml", "k"], "no such file"),
    ],
)
def test_mistakes(arguments, says, capfdbinary):
    assert cli.call(["route", *arguments]) == 2
    out, err = capfdbinary.readouterr()
    assert out == b""
    assert says in err.decode()


def test_keys_of_several_pools(tmp_path, capfdbinary):
    path = tmp_path / "magent.yaml"
    path.write_text(
        "pools: {main: {servers: [a], prefixes: ['m:']}, "
        "users: {servers: [b, c], backups: [d], prefixes: ['u:'], strip_prefix: true, "
        "distribution: modula, key_hash: djb}, own: {servers: [e], listen: [5]}}"
    )
    assert cli.call(["route", "-c", str(path), "u:a", "m:a", "x", "u:"]) == 2
    out, err = capfdbinary.readouterr()
    assert [line.split() for line in out.decode().splitlines()] == [
        ["KEY", "POOL", "SERVER", "INDEX", "BACKUP", "INDEX"],
        ["u:a", "users", ("b:11211", "c:11211")[OWNER_OF_TWO["a"]], str(OWNER_OF_TWO["a"]), "d:11211", "0"],
        ["m:a", "main", "a:11211", "0", "-", "-"],
    ]
    assert b'no pool takes the key "x"' in err
    assert b'"u:" is nothing but the prefix that the pool "users" strips' in err
    assert cli.call(["route", "-c", str(path), "--pool", "own", "--json", "x"]) == 0
    assert rows(capfdbinary)[0]["pool"] == "own"
    assert cli.call(["route", "-c", str(path), "--pool", "none", "x"]) == 2
