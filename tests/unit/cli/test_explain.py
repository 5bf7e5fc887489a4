"""`magent explain`: one key, for people and for programs."""

import json

import pytest

from memagent import cli


@pytest.fixture
def pool(memcached_factory, tmp_path):
    owner, copy = memcached_factory(), memcached_factory("new")
    path = tmp_path / "magent.yaml"
    path.write_text(
        f"control_socket: {tmp_path}/none.sock\n"
        f"pools: {{main: {{servers: [{{address: '{owner.address}', name: a}}], "
        f"backups: [{{address: '{copy.address}', name: x}}], distribution: modula, key_hash: djb}}}}\n"
    )
    return owner, copy, str(path)


@pytest.fixture
def told(pool, capfdbinary):
    def run(*arguments):
        code = cli.call(["explain", "-c", pool[2], *arguments])
        out, err = capfdbinary.readouterr()
        return code, out, err.decode()

    return run


def test_the_whole(pool, told):
    owner, copy, _ = pool
    for server in (owner, copy):
        server.set(b"k", b"a secret", flags=5)
    code, out, err = told("k")
    assert code == 0
    lines = out.decode().splitlines()
    # djb of magent, by hand
    assert lines[:3] == [
        "key     k",
        f"hash    {5381 * 33 + ord('k')} (0x{5381 * 33 + ord('k'):08x}), djb",
        "pool    main, modula",
    ]
    header, first, second = lines[4:7]
    assert header.split() == ["NAME", "ADDRESS", "STATE", "PRESENT", "SIZE", "FLAGS", "TTL", "LEFT", "CAS"]
    assert first.split()[:-1] == ["owner", "a", owner.address, "not", "known", "yes", "8", "5", "for", "ever"]
    assert second.split()[:3] == ["copy", "x", copy.address]
    assert lines[-1] == "owner and copy agree"
    assert "secret" not in out.decode()
    assert "by the configuration file alone" in err


def test_what_differs_and_what_is_missing(pool, told):
    owner, copy, _ = pool
    owner.set(b"k", b"one")
    assert told("k")[1].decode().splitlines()[-1] == "only the owner has it"
    copy.set(b"k", b"another", exptime=1000)
    lines = told("k")[1].decode().splitlines()
    assert lines[-1] == "owner and copy DIFFER in value, ttl"
    assert " 16 min " in lines[6]
    assert told("other")[1].decode().splitlines()[-1].startswith("neither has it")


def test_a_server_that_is_not_there(pool, told):
    pool[0].kill()
    lines = told("k", "--timeout", "500ms")[1].decode().splitlines()
    assert lines[5].split()[3:] == ["not", "known", "not", "known", "-", "-", "-", "-"]
    assert lines[7] == "a: cannot connect: Connection refused"
    assert lines[-1] == "not known: a server did not answer"


def test_json(pool, told):
    pool[0].set(b"k", b"one")
    code, out, _ = told("--json", "k")
    assert code == 0
    found = json.loads(out)
    assert (found["verdict"], found["owner"]["size_bytes"], found["copy"]["present"]) == (
        "missing_copy",
        3,
        False,
    )


def test_keys_that_are_not_ascii(pool, told):
    pool[0].set(b"x\xff", b"one")
    code, out, _ = told("x\udcff")
    assert code == 0
    assert out.startswith(b"key     x\xff\n")
    assert told("x\u202ey")[1].startswith(b"key     x\\xe2\\x80\\xaey\n")
    assert json.loads(told("--json", "x\udcff")[1])["key"].encode(errors="surrogateescape") == b"x\xff"


def test_a_key_that_starts_with_a_dash(told):
    assert b"key     -k\n" in told("--", "-k")[1]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "Missing argument 'KEY'"),
        ([""], "a key must not be empty"),
        (["a b"], 'key "a b" has a space or a control character'),
        (["k" * 251], "has 251 bytes, more than 250"),
        (["k", "--timeout", "soon"], "must be a time"),
        (["k", "--timeout", "9999999d"], "must be from 0.01 to 600"),
    ],
)
def test_mistakes(told, arguments, says):
    code, out, err = told(*arguments)
    assert (code, out) == (2, b"")
    assert says in err


def test_the_route_and_the_key_that_the_servers_know(memcached_factory, tmp_path, capfdbinary):
    server = memcached_factory()
    server.set(b"k", b"v")
    path = tmp_path / "magent.yaml"
    path.write_text(
        f"control_socket: {tmp_path}/none.sock\n"
        f"pools: {{main: {{servers: [a]}}, "
        f"users: {{servers: ['{server.address}'], prefixes: ['u:'], strip_prefix: true}}}}\n"
    )
    assert cli.call(["explain", "-c", str(path), "u:k"]) == 0
    lines = capfdbinary.readouterr().out.decode().splitlines()
    assert lines[:2] == ["key     u:k", 'route   "u:", its servers know the key as k']
    assert lines[3] == "pool    users, ketama"
    assert " yes " in lines[6]
    assert cli.call(["explain", "-c", str(path), "--pool", "users", "--json", "k"]) == 0
    told = json.loads(capfdbinary.readouterr().out)
    assert (told["pool"], told["prefix"], told["stored_key"], told["owner"]["present"]) == (
        *("users", None, "k", True),
    )
    assert cli.call(["verify", "-c", str(path)]) == 2
    assert b"which pool is meant? There are main, users" in capfdbinary.readouterr().err
