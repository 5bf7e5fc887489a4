"""A sample of keys, compared: what is found, what is passed over, and how hard servers are worked."""

import random

import pytest

from memagent.inspection import verify as module
from memagent.inspection.verify import Pace, Report, verify
from tests.unit.inspection.pools import places, store


@pytest.fixture
def servers(memcached_factory):
    return [memcached_factory(), memcached_factory("new")]


@pytest.fixture
def backups(memcached_factory):
    return [memcached_factory()]


def verified(found, count=1000, pause=lambda _: None, seed=1, timeout_s=5.0, **settings):
    return verify(found, count, 1e6, timeout_s, random.Random(seed), pause=pause, **settings)


def counts(report: Report) -> dict[str, int]:
    return {name: count for name, count in report.counts.items() if count}


def test_copies_that_agree(servers, backups):
    found = places(servers, backups)
    for n in range(100):
        store(servers, backups, found, b"key:%d" % n, b"v%d" % n, flags=n, exptime=n % 2 * 1000)
    report = verified(found)
    assert counts(report) == {"agree": 100}
    assert report.compared == 100
    assert report.share("agree") == 1
    assert (report.examples, report.problems, report.ttl_unknown) == ([], {}, 0)


def test_what_does_not(servers, backups):
    found = places(servers, backups)
    for n in range(40):
        store(servers, backups, found, b"key:%d" % n)
    for n in range(4):
        backups[0].set(b"key:%d" % n, b"an old value")
    backups[0].set(b"key:4", b"value", exptime=500)
    for n in range(10, 13):
        with backups[0].connect() as wire:
            wire.expect(b"delete key:%d\r\n" % n, b"DELETED\r\n")
    for n in range(20, 40):
        owner = servers[int(found.of(b"key:%d" % n)[0].name[1:])]
        with owner.connect() as wire:
            wire.expect(b"delete key:%d\r\n" % n, b"DELETED\r\n")
    report = verified(found)
    assert counts(report) == {"agree": 12, "differ": 5, "missing_copy": 3, "missing_owner": 20}
    assert report.share("differ") == 5 / 40
    assert len(report.examples) == 10
    assert [each.finding for each in report.examples] == ["differ"] * 5 + ["missing_owner"] * 5
    by_key = {each.key: each for each in report.examples}
    assert by_key["key:0"].differs_in == ("value",)
    assert by_key["key:4"].differs_in == ("ttl",)
    assert by_key["key:0"].copy == "b0"
    told = report.as_dict()
    assert told["differ_share"] == 0.125
    assert told["examples"][0].keys() == {"key", "finding", "owner", "copy", "differs_in"}


def test_on_one_ring(servers, memcached_factory):
    three = [*servers, memcached_factory()]
    found = places(three, copies=2)
    for n in range(60):
        store(three, (), found, b"key:%d" % n)
    assert counts(verified(found)) == {"agree": 60}


def test_no_more_keys_than_asked_for_and_others_another_time(servers, backups):
    found = places(servers, backups)
    for n in range(300):
        store(servers, backups, found, b"key:%d" % n)
    backups[0].set(b"key:7", b"other")
    reports = [verified(found, 50, seed=seed) for seed in range(30)]
    assert all(report.compared == 50 for report in reports)
    assert {report.counts["differ"] for report in reports} == {0, 1}


def test_a_key_where_it_does_not_belong_is_a_stray(servers, backups):
    found = places(servers, backups)
    owner = int(found.of(b"key")[0].name[1:])
    servers[1 - owner].set(b"key", b"x")
    report = verified(found)
    assert (report.strays, report.compared) == (1, 0)


def test_a_write_under_way_does_not_count(servers, backups):
    """The copy is a moment behind."""
    found = places(servers, backups)
    store(servers, backups, found, b"key", b"old")
    owner = servers[int(found.of(b"key")[0].name[1:])]
    owner.set(b"key", b"new")
    assert counts(verified(found, pause=lambda _: backups[0].set(b"key", b"new"))) == {"agree": 1}


def test_a_key_that_goes_on_changing_is_not_judged(servers, backups):
    found = places(servers, backups)
    owner = servers[int(found.of(b"key")[0].name[1:])]
    store(servers, backups, found, b"key", b"0")
    owner.set(b"key", b"1")
    numbers = iter(range(100))
    report = verified(found, pause=lambda _: owner.set(b"key", b"n%d" % next(numbers)))
    assert counts(report) == {"changing": 1}
    assert report.compared == 0


def test_what_was_deleted_meanwhile_is_gone(servers, backups, monkeypatch):
    found = places(servers, backups)
    listed = module.sample_keys(
        found.holders[0].address, 1, 5.0, random.Random(1)
    )  # an empty one, as a form to fill
    home = found.of(b"deleted")[0]

    def sample(address, *_):
        keys = [b"deleted"] if address == home.address else []
        return type(listed)(keys, 0, "")

    monkeypatch.setattr(module, "sample_keys", sample)
    assert counts(verified(found)) == {"gone": 1}


def test_a_server_that_is_not_there(servers, backups):
    found = places(servers, backups)
    for n in range(60):
        store(servers, backups, found, b"key:%d" % n)
    servers[0].kill()
    report = verified(found)
    assert report.problems == {"server s0": "cannot connect: Connection refused"}
    assert report.not_asked > 0
    assert report.counts["agree"] == report.compared == 60 - report.not_asked


@pytest.mark.parametrize("state", ["down", "returning", "draining", "drained"])
def test_a_server_out_of_service_has_not_got_every_write(servers, backups, state):
    """It can be reached, what it has is old, and nobody is answered from it."""
    found = places(servers, backups)
    for n in range(60):
        store(servers, backups, found, b"key:%d" % n)
        backups[0].set(b"old:%d" % n, b"x")
        servers[0].set(b"key:%d" % n, b"old")
    states = {("server", "s0"): state, ("server", "s1"): "up", ("backup", "s0"): "up"}
    report = verified(found, states=states)
    assert report.problems == {"server s0": f"is {state}: what it has is not compared"}
    assert report.counts["differ"] == 0
    assert report.not_asked > 0
    assert report.counts["agree"] > 0


def test_one_that_is_being_filled_is_compared(servers, backups):
    found = places(servers, backups)
    store(servers, backups, found, b"key")
    states = {("server", "s0"): "warming", ("server", "s1"): "warming"}
    assert counts(verified(found, states=states)) == {"agree": 1}


def test_a_server_without_meta_commands_tells_no_time_to_live(servers, backups, monkeypatch):
    found = places(servers, backups)
    store(servers, backups, found, b"key", exptime=1000)
    monkeypatch.setattr("memagent.inspection.client.Connection._speaks_meta", lambda self: False)
    report = verified(found)
    assert (counts(report), report.ttl_unknown) == ({"agree": 1}, 1)


def test_progress_is_told(servers, backups):
    found = places(servers, backups)
    store(servers, backups, found, b"key")
    told = []
    verified(found, progress=lambda *step: told.append(step))
    assert told == [
        ("listing keys", 0, 3),
        ("listing keys", 1, 3),
        ("listing keys", 2, 3),
        ("comparing", 1, 1),
    ]


def test_the_pace():
    pauses = []
    pace = Pace(100, pauses.append)
    pace.done(50, 0)
    assert 0.3 < pauses[-1] <= 0.5
    pace.done(0, 64 * 1024 * 1024)
    assert 1.7 < pauses[-1] <= 2
    Pace(1e9, pauses.append).done(1, 0)
    assert len(pauses) == 2
