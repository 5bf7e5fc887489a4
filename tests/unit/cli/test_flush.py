"""`magent flush`: what is lost is said, nothing is flushed without a yes."""

import io
import json
import sys
from dataclasses import replace

import pytest

from memagent import cli
from memagent.snapshot import PoolSnapshot, as_json
from tests.support.control_stand_in import SERVER, done, snapshot_of


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def flush(stand_in, capfd, monkeypatch):
    """`typed`: on a terminal; `flushes` are the requests that flush."""

    def run(*arguments, servers=(SERVER,), has_copies=True, typed=None):
        whole = snapshot_of(*servers)
        pools = tuple(
            PoolSnapshot(
                number, name, "ketama", has_copies, tuple(each for each in servers if each.pool == name)
            )
            for number, name in enumerate(dict.fromkeys(each.pool for each in servers))
        )
        flushes = []

        def answer(request):
            match request["verb"]:
                case "snapshot":
                    return [{"ok": True, "snapshot": as_json(replace(whole, pools=pools))}]
                case "flush" if request["pool"] not in [pool.name for pool in pools]:
                    return [{"error": f"there is no pool {request['pool']}", "hint": None}]
                case "flush" | "flush_server":
                    flushes.append(request)
            return [done(servers[0])]

        monkeypatch.setattr(sys, "stdin", Terminal(typed) if typed is not None else io.StringIO())
        with stand_in(answer) as proxy:
            code = cli.call(["flush", "--socket", proxy.path, *arguments])
        return code, *capfd.readouterr(), flushes

    return run


@pytest.fixture
def real(memcached_factory):
    server = memcached_factory()
    for key in (b"a", b"b"):
        server.set(key, b"x")
    return replace(SERVER, address=server.address)


def test_one_server_that_is_agreed_to(flush, real):
    code, out, err, flushes = flush("a", servers=(real,), typed="y\n")
    assert (code, out) == (0, f"server a ({real.address}) is flushed\n")
    assert f"a ({real.address}) loses 2 items of" in err
    assert "Their copies are asked meanwhile" in err
    assert flushes == [{"verb": "flush_server", "server": "a", "confirm": "flush_all"}]


def test_without_copies(flush, real):
    _, _, err, _ = flush("a", servers=(real,), has_copies=False, typed="y\n")
    assert "they miss until they are written anew" in err


@pytest.mark.parametrize("arguments", [["a"], ["--all"]])
@pytest.mark.parametrize("typed", ["n\n", "\n"])
def test_not_agreed_to(flush, real, arguments, typed):
    code, out, err, flushes = flush(*arguments, servers=(real,), typed=typed)
    assert (code, out, flushes) == (1, "", [])
    assert err.endswith("nothing was flushed\n")


def test_an_end_of_the_input_is_no_yes(flush, real):
    code, _, _, flushes = flush("a", servers=(real,), typed="")
    assert (code, flushes) == (130, [])


def test_what_it_has_may_not_be_known(flush):
    nowhere = replace(SERVER, address="unix:/nobody/there")
    assert "loses what it has." in flush("a", servers=(nowhere,), typed="y\n")[2]


def test_all(flush, real):
    other = replace(SERVER, name="b", address="unix:/nobody/there", pool="users")
    code, out, err, flushes = flush("--all", servers=(real, other), typed="y\n")
    assert (code, out) == (0, "2 servers are flushed\n")
    assert "2 servers lose 2 items of" in err
    assert "and what 1 more have, copies included" in err
    assert [request["pool"] for request in flushes] == ["main", "users"]


def test_all_of_a_pool(flush, real):
    other = replace(SERVER, pool="users")
    code, out, err, flushes = flush("--all", "--pool", "users", "--yes", servers=(real, other))
    assert (code, out, err) == (0, "1 server is flushed\n", "")
    assert [request["pool"] for request in flushes] == ["users"]
    code, _, err, flushes = flush("--all", "--pool", "none", "--yes", servers=(real,))
    assert (code, flushes) == (1, [])
    assert "there is no pool none" in err


def test_json(flush):
    assert json.loads(flush("a", "--yes", "--json")[1])["name"] == "a"
    assert [each["name"] for each in json.loads(flush("--all", "--yes", "--json")[1])] == ["a"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "give either a SERVER or --all"),
        (["a", "--all"], "give either a SERVER or --all"),
        (["--all", "--role", "backup"], "--role makes no sense with --all"),
        (["a"], "without being agreed to"),
        (["--all"], "without being agreed to"),
    ],
)
def test_mistakes(flush, arguments, says):
    code, out, err, flushes = flush(*arguments)
    assert (code, out, flushes) == (2, "", [])
    assert says in err
