"""`magent verify`: shares, examples, exit codes."""

import json

import pytest
from rich.console import Console

from memagent import cli
from memagent.cli import verify as module


@pytest.fixture
def pool(memcached_factory, tmp_path):
    owner, copy = memcached_factory(), memcached_factory()
    path = tmp_path / "magent.yaml"
    path.write_text(
        f"control_socket: {tmp_path}/none.sock\n"
        f"pools: {{main: {{servers: [{{address: '{owner.address}', name: a}}], "
        f"backups: [{{address: '{copy.address}', name: x}}]}}}}\n"
    )
    for n in range(20):
        for server in (owner, copy):
            server.set(b"key:%d" % n, b"a secret")
    return owner, copy, str(path)


@pytest.fixture
def verified(pool, capfdbinary, monkeypatch):
    monkeypatch.setattr("memagent.inspection.verify._PAUSE_S", 0.01)

    def run(*arguments):
        code = cli.call(["verify", "-c", pool[2], *arguments])
        out, err = capfdbinary.readouterr()
        return code, out.decode(errors="surrogateescape"), err.decode()

    return run


def test_all_agree(verified):
    code, out, _ = verified()
    assert code == 0
    first, *rest = out.splitlines()
    assert first.startswith("20 keys compared in ")
    assert rest == [
        "  agree                 20  100.00 %",
        "  missing on the copy    0    0.00 %",
        "  missing on the owner   0    0.00 %",
        "  differ                 0    0.00 %",
    ]


def test_some_do_not(pool, verified):
    pool[0].set(b"key:3", b"another secret")
    with pool[1].connect() as wire:
        wire.expect(b"delete key:4\r\n", b"DELETED\r\n")
    code, out, _ = verified()
    assert code == 1
    lines = out.splitlines()
    assert lines[1:5] == [
        "  agree                 18  90.00 %",
        "  missing on the copy    1   5.00 %",
        "  missing on the owner   0   0.00 %",
        "  differ                 1   5.00 %",
    ]
    assert lines[6:] == [
        "KEY    FINDING              OWNER  COPY  DIFFERS IN",
        "key:3  differ               a      x     value",
        "key:4  missing on the copy  a      x     -",
    ]
    assert "secret" not in out


def test_a_missing_copy_is_no_fault(pool, verified):
    with pool[1].connect() as wire:
        wire.expect(b"delete key:4\r\n", b"DELETED\r\n")
    assert verified()[0] == 0


def test_json_and_its_seed(pool, verified):
    code, out, _ = verified("--json", "--keys", "5")
    assert code == 0
    found = json.loads(out)
    assert (found["compared"], found["agree_share"], found["examples"]) == (5, 1.0, [])
    assert json.loads(verified("--json", "--seed", "7")[1])["seed"] == 7


def test_keys_that_are_not_ascii(pool, verified):
    pool[0].set(b"x\xff", b"one")
    code, out, _ = verified()
    assert code == 0
    assert "\nx\udcff " in out


def test_a_key_cannot_steer_a_terminal(pool, verified):
    """A client may use any bytes from 0x80 on; some terminals take them for the start of a command."""
    pool[0].set("x\u009b2J".encode(), b"one")
    pool[0].set(b"y\x9b2J", b"one")
    _, out, _ = verified()
    assert "\nx\\xc2\\x9b2J " in out
    assert "\ny\\x9b2J " in out
    _, out, _ = verified("--json")
    assert "\u009b" not in out
    assert {each["key"] for each in json.loads(out)["examples"]} == {"x\u009b2J", "y\udc9b2J"}


def test_what_could_not_be_asked(pool, verified):
    pool[1].kill()
    code, out, err = verified()
    assert (code, out) == (1, "")
    assert "error: nothing could be compared: backup x: cannot connect: Connection refused" in err


def test_a_line_on_a_terminal(verified, monkeypatch):
    monkeypatch.setattr(
        module, "Console", lambda stderr: Console(stderr=stderr, force_terminal=True, width=100)
    )
    code, _, err = verified()
    assert code == 0
    assert "comparing: 20 of 20" in err


def test_a_pool_without_copies(tmp_path, capfd):
    path = tmp_path / "one.yaml"
    path.write_text(f"control_socket: {tmp_path}/none.sock\npools: {{main: {{servers: [10.0.0.1]}}}}\n")
    assert cli.call(["verify", "-c", str(path)]) == 2
    err = capfd.readouterr().err
    assert 'pool "main" keeps no copies: there is nothing to compare\nhint: give it backups' in err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--keys", "0"], "must be from 1 to 1,000,000"),
        (["--rate", "0"], "must be from 1 to 1,000,000"),
        (["--keys", "many"], "must be a whole number"),
        (["--timeout", "0"], "must be from 0.01 to 600"),
    ],
)
def test_mistakes(verified, arguments, says):
    code, out, err = verified(*arguments)
    assert (code, out) == (2, "")
    assert says in err
