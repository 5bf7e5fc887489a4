"""One key: where it belongs, where it is, and whether its copies agree."""

import json

import pytest

from memagent.cli.explain import describe
from memagent.inspection.explain import explain
from memagent.inspection.routing import Routed
from memagent.settings import Migration, PoolConfig
from memagent.topology import make_placement
from tests.unit.inspection.pools import places, store

KEY = b"SNSGOU1"


def explained(found, key=KEY, states=None, timeout_s=5.0):
    way = Routed(found.pool, key, "", key)
    return explain(key, way, make_placement(found.pool), states or {}, timeout_s)


@pytest.fixture(params=["old", "new"])
def server(memcached_factory, request):
    return memcached_factory(request.param)


@pytest.fixture
def backup(memcached_factory):
    return memcached_factory()


def test_the_whole(server, backup):
    found = places([server], [backup], key_hash="djb", distribution="modula")
    store([server], [backup], found, KEY, b"a secret", flags=3, exptime=1000)
    told = explained(found, states={("server", "s0"): "up", ("backup", "b0"): "warming"})
    djb = 5381
    for byte in KEY:
        djb = (djb * 33 + byte) & 0x7FFFFFFF
    assert (told.key_hash, told.hash_value, told.distribution) == ("djb", djb, "modula")
    assert told.verdict == "agree"
    assert (told.owner.state, told.copy.state) == ("up", "warming")
    whole = json.dumps(told.as_dict())
    assert "secret" not in whole
    at_copy = json.loads(whole)["copy"]
    assert 900 < at_copy.pop("ttl_s") <= 1000
    assert isinstance(at_copy.pop("cas"), int)
    assert at_copy.pop("idle_s") in range(60)
    assert at_copy == {
        "name": "b0",
        "role": "backup",
        "address": backup.address,
        "state": "warming",
        "present": True,
        "size_bytes": 8,
        "flags": 3,
        "stale": False,
        "problem": None,
    }


def test_a_key_that_moves(server, backup):
    new = PoolConfig.model_validate({"name": "m", "servers": [backup.address], "on_change": "migrate"})
    old = PoolConfig.model_validate({"name": "m", "servers": [server.address]})
    moving = Migration(phase="copy", former=old, n_settled=1)
    pool = new.model_copy(update={"servers": (*new.servers, *old.servers), "migration": moving})
    told = explain(KEY, Routed(pool, KEY, None, KEY), make_placement(pool), {}, 5.0)
    assert told.moving
    assert [found.holder.name for found in (told.owner, told.copy)] == [server.address, backup.address]
    assert [line.split()[:2] for line in describe(told)[5:7]] == [
        ["decides", server.address],
        ["other", backup.address],
    ]
    assert describe(told)[-1].startswith("it moves")
    assert told.as_dict()["moving"]


def test_what_differs(server, backup):
    found = places([server], [backup])
    server.set(KEY, b"new")
    backup.set(KEY, b"old", flags=1)
    told = explained(found)
    assert (told.verdict, told.differs_in) == ("differ", ("value", "flags"))
    assert told.owner.state is None


def test_what_was_invalidated_says_so(server, backup):
    found = places([server], [backup])
    for each in (server, backup):
        each.set(KEY, b"x")
        with each.connect() as wire:
            wire.expect(b"md %b I\r\n" % KEY, b"HD\r\n")
    told = explained(found)
    assert told.verdict == "agree"
    assert (told.owner.as_dict()["stale"], told.copy.as_dict()["stale"]) == (True, True)


def test_on_one_side_or_on_none(server, backup):
    found = places([server], [backup])
    assert explained(found).verdict == "nowhere"
    server.set(KEY, b"x")
    told = explained(found)
    assert told.verdict == "missing_copy"
    assert told.copy.as_dict()["present"] is False
    assert explained(places([backup], [server])).verdict == "missing_owner"


def test_without_copies(server):
    server.set(KEY, b"x")
    told = explained(places([server]))
    assert (told.verdict, told.copy, told.as_dict()["copy"]) == ("no_copy", None, None)
    server.kill()
    told = explained(places([server]))
    assert (told.verdict, told.copy, told.owner.as_dict()["present"]) == ("not_known", None, None)
    assert describe(told)[-1] == "not known: a server did not answer"


def test_a_key_that_no_client_reaches_there(server):
    pool = places([server]).pool
    told = explain(KEY, Routed(pool, KEY, None, None), make_placement(pool), {}, 5.0)
    assert told.as_dict()["reachable"] is False
    assert describe(told)[-1] == "no client reaches it in this pool: its prefix leads to another one"
    assert explained(places([server])).as_dict()["reachable"] is True


def test_a_server_that_is_not_there(server, backup):
    found = places([server], [backup])
    server.kill()
    told = explained(found)
    assert told.verdict == "not_known"
    assert told.owner.problem == "cannot connect: Connection refused"
    assert told.owner.as_dict()["present"] is None
    assert told.copy.problem is None


def test_a_server_that_is_frozen(server, backup):
    found = places([server], [backup])
    server.pause()
    try:
        told = explained(found, timeout_s=0.2)
    finally:
        server.resume()
    assert told.owner.problem == "does not answer in time"
