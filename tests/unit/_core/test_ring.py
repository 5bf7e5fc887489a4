"""Placement: what other systems were seen to do, then weights, copies, tags, big rings and mistakes."""

from collections import Counter

import pytest

from memagent._core.hashing import key_hash
from memagent._core.ring import DISTRIBUTIONS, Placement, ring_name
from memagent.errors import ConfigError
from tests.reference.observed import Case, observed_cases
from tests.reference.ring import PlainPlacement

KEYS, CASES = observed_cases()
MANY_KEYS = [f"user:{number}".encode() for number in range(5000)]
THREE = [("", f"10.0.0.{number}", 11211, 1) for number in (1, 2, 3)]


def owners(placement: Placement, keys: list[bytes]) -> list[int]:
    return [placement.locate(key)[0] for key in keys]


def test_no_observed_case_is_missing() -> None:
    assert len(CASES) == 123
    assert len(KEYS) == 159


@pytest.mark.parametrize("case", CASES, ids=[case.title for case in CASES])
def test_observed_placement(case: Case) -> None:
    assert owners(Placement(case.servers, [], case.distribution, case.key_hash), KEYS) == case.owners


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_one_server_owns_everything(distribution: str) -> None:
    placement = Placement(THREE[:1], [], distribution, "md5", copies=2)
    assert {placement.locate(key) for key in KEYS} == {(0, -1)}


@pytest.mark.parametrize("distribution", ["modula", "ketama", "consistent", "jump", "rendezvous"])
def test_weights_are_shares(distribution: str) -> None:
    servers = [("", f"10.0.0.{number}", 11211, weight) for number, weight in enumerate((1, 2, 7))]
    found = Counter(owners(Placement(servers, [], distribution, "xxh3"), MANY_KEYS))
    assert found[0] == pytest.approx(500, rel=0.3)
    assert found[1] == pytest.approx(1000, rel=0.3)
    assert found[2] == pytest.approx(3500, rel=0.3)


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_copy_is_on_another_server(distribution: str) -> None:
    placement = Placement(THREE, [], distribution, "md5", copies=2)
    pairs = {placement.locate(key) for key in MANY_KEYS}
    assert {owner for owner, _ in pairs} == {0, 1, 2}
    assert all(copy in {0, 1, 2} - {owner} for owner, copy in pairs)


@pytest.mark.parametrize("distribution", ["ketama", "consistent", "magent-ketama", "rendezvous"])
def test_copy_is_who_would_own_the_key_without_its_owner(distribution: str) -> None:
    placement = Placement(THREE, [], distribution, "md5", copies=2)
    for gone in range(3):
        left = [server for index, server in enumerate(THREE) if index != gone]
        without = Placement(left, [], distribution, "md5")
        for key in KEYS:
            owner, copy = placement.locate(key)
            if owner == gone:
                assert left[without.locate(key)[0]] == THREE[copy]


@pytest.mark.parametrize("distribution", ["modula", "jump"])
def test_copy_is_the_next_of_the_list(distribution: str) -> None:
    placement = Placement(THREE, [], distribution, "md5", copies=2)
    assert all(copy == (owner + 1) % 3 for owner, copy in map(placement.locate, KEYS))


def test_copy_when_weights_leave_the_others_no_point() -> None:
    servers = [("", "10.0.0.1", 11211, 100_000), ("", "10.0.0.2", 11211, 1)]
    placement = Placement(servers, [], "ketama", "md5", copies=2)
    assert {placement.locate(key) for key in KEYS} == {(0, 1)}


def test_backups_have_a_ring_of_their_own() -> None:
    backups = [("", "10.0.1.1", 11211, 1), ("", "10.0.1.2", 11211, 1)]
    both = Placement(THREE, backups, "ketama", "md5")
    assert owners(both, KEYS) == owners(Placement(THREE, [], "ketama", "md5"), KEYS)
    assert [both.locate(key)[1] for key in KEYS] == owners(Placement(backups, [], "ketama", "md5"), KEYS)


def test_backups_stand_before_copies() -> None:
    placement = Placement(THREE, [("", "10.0.1.1", 11211, 1)], "ketama", "md5", copies=2)
    assert {placement.locate(key)[1] for key in KEYS} == {0}


def test_magent_puts_a_key_on_one_server_and_one_backup() -> None:
    servers = [("", "192.168.11.51", 11211, 1), ("", "192.168.11.52", 11211, 1)]
    placement = Placement(servers, [("", "192.168.11.68", 11211, 1)], "modula", "djb")
    found = [placement.locate(f"key{number}".encode()) for number in range(1, 6)]
    assert found == [(1, 0), (0, 0), (1, 0), (0, 0), (1, 0)]


@pytest.mark.parametrize("distribution", ["ketama", "consistent", "magent-ketama", "rendezvous"])
def test_a_named_server_may_move_to_another_machine(distribution: str) -> None:
    before = [(f"cache{number}", f"10.0.0.{number}", 11211, 1) for number in range(5)]
    after = [(name, "10.9.9.9", 20000 + index, 1) for index, (name, *_) in enumerate(before)]
    assert owners(Placement(before, [], distribution, "md5"), MANY_KEYS) == owners(
        Placement(after, [], distribution, "md5"), MANY_KEYS
    )


def test_modula_orders_named_servers_by_length_then_name() -> None:
    names = ["node10", "node9", "node1"]
    named = Placement([(name, "10.0.0.1", 11211, 1) for name in names], [], "modula", "djb")
    unnamed = Placement(THREE, [], "modula", "djb")
    assert owners(named, KEYS) == [[2, 1, 0][owner] for owner in owners(unnamed, KEYS)]


def test_modula_keeps_the_list_where_one_server_has_no_name() -> None:
    mixed = [("zebra", "10.0.0.1", 11211, 1), ("", "10.0.0.2", 11211, 1), ("ant", "10.0.0.3", 11211, 1)]
    assert owners(Placement(mixed, [], "modula", "djb"), KEYS) == owners(
        Placement(THREE, [], "modula", "djb"), KEYS
    )


@pytest.mark.parametrize(
    ("key", "part"),
    [
        (b"{user1}:name", b"user1"),
        (b"a{user1}{user2}", b"user1"),
        (b"a}b{user1}c", b"user1"),
        (b"{{user1}}", b"{user1"),
        (b"{}user1", b"{}user1"),
        (b"{}{user1}", b"{}{user1}"),
        (b"{user1", b"{user1"),
        (b"user1}", b"user1}"),
        (b"}user1{", b"}user1{"),
        (b"{", b"{"),
    ],
)
def test_hash_tag(key: bytes, part: bytes) -> None:
    servers = [("", f"10.0.0.{number}", 11211, 1) for number in range(50)]
    tagged = Placement(servers, servers[:20], "ketama", "md5", b"{}")
    assert tagged.locate(key) == Placement(servers, servers[:20], "ketama", "md5").locate(part)


def test_hash_tag_of_one_character_twice() -> None:
    servers = [("", f"10.0.0.{number}", 11211, 1) for number in range(50)]
    assert Placement(servers, [], "jump", "md5", b"$$").locate(b"a$bc$d") == Placement(
        servers, [], "jump", "md5"
    ).locate(b"bc")


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_big_ring(distribution: str) -> None:
    size = 60 if distribution == "magent-ketama" else 300
    servers = [("", f"10.0.{number // 250}.{number % 250}", 11211, 1) for number in range(size)]
    placement = Placement(servers, [], distribution, "md5", copies=2)
    plain = PlainPlacement(servers, [], distribution, "md5", copies=2)
    assert [placement.locate(key) for key in KEYS[::40]] == [plain.locate(key) for key in KEYS[::40]]
    assert len(set(owners(placement, MANY_KEYS))) > 0.97 * size


@pytest.mark.parametrize("distribution", ["ketama", "consistent"])
def test_a_hash_of_few_bits_finds_its_points(distribution: str) -> None:
    servers = [("", f"10.0.0.{number}", 11211, 1) for number in range(100)]
    placement = Placement(servers, [], distribution, "crc32", copies=2)
    plain = PlainPlacement(servers, [], distribution, "crc32", copies=2)
    assert [placement.locate(key) for key in KEYS[:40]] == [plain.locate(key) for key in KEYS[:40]]


def test_magent_ring_falls_back_on_hash_zero() -> None:
    four = [*THREE, ("", "10.0.0.4", 11211, 1)]
    key = b"jk8ssl"
    assert key_hash("md5", key) == 0
    assert key_hash("djb", key) % 4 == 0
    assert PlainPlacement(four, [], "magent-ketama", "md5").servers.points[0].server == 1
    assert Placement(four, [], "magent-ketama", "md5", copies=2).locate(key) == (0, 1)


@pytest.mark.parametrize(
    ("host", "port", "expected"),
    [
        ("10.0.0.1", 11211, "10.0.0.1"),
        ("10.0.0.1", 11212, "10.0.0.1:11212"),
        ("::1", 22122, "::1:22122"),
        ("/run/memcached.sock", 0, "/run/memcached.sock"),
    ],
)
def test_ring_name(host: str, port: int, expected: str) -> None:
    assert ring_name(host, port) == expected
    for distribution in ("ketama", "consistent", "rendezvous"):
        unnamed = Placement([("", host, port, 1), *THREE[1:]], [], distribution, "md5")
        named = Placement([(expected, "", 0, 1), *THREE[1:]], [], distribution, "md5")
        assert owners(unnamed, KEYS) == owners(named, KEYS)


@pytest.mark.parametrize(
    ("servers", "distribution", "key_hash", "hash_tag", "copies", "message", "hint"),
    [
        ([], "ketama", "md5", b"", 1, "at least one server", "-s"),
        (THREE, "ketma", "md5", b"", 1, 'distribution "ketma" is not known', "ketama"),
        (THREE, "ketama", "md6", b"", 1, 'key_hash "md6" is not known', "md5"),
        (THREE, "magent-ketama", "djb", b"", 1, "magent-ketama hashes keys with md5", "md5"),
        (THREE, "ketama", "md5", b"{", 1, "not two characters", "{}"),
        (THREE, "ketama", "md5", b"{}}", 1, "not two characters", "{}"),
        (THREE, "ketama", "md5", b"", 0, "copies: 0 is out of range", "1 or 2"),
        (THREE, "ketama", "md5", b"", 3, "copies: 3 is out of range", "1 or 2"),
        (
            [("", "10.0.0.1", 11211, 0)],
            "modula",
            "md5",
            b"",
            1,
            'servers: "10.0.0.1" has weight 0',
            "1 or more",
        ),
        (
            [("a", "h", 1, 2**31)],
            "modula",
            "md5",
            b"",
            1,
            "servers: the weights add up to 2147483648",
            "ratio",
        ),
        ([THREE[0], ("", "h", 1, 2)], "magent-ketama", "md5", b"", 1, "knows no weights", "ketama"),
        (
            [THREE[0], THREE[0]],
            "ketama",
            "md5",
            b"",
            1,
            'servers: "10.0.0.1" stands on the ring twice',
            "name",
        ),
    ],
)
def test_mistakes_say_what_is_allowed(
    servers: list[tuple[str, str, int, int]],
    distribution: str,
    key_hash: str,
    hash_tag: bytes,
    copies: int,
    message: str,
    hint: str,
) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        Placement(servers, [], distribution, key_hash, hash_tag, copies)
    assert hint in (caught.value.hint or "")


def test_mistake_in_backups_says_so() -> None:
    with pytest.raises(ConfigError, match='backups: "b" has weight -1'):
        Placement(THREE, [("b", "10.0.1.1", 11211, -1)], "ketama", "md5")


@pytest.mark.parametrize("key_hash", ["md5", "fnv1a_64"])
@pytest.mark.parametrize("tag", [b"", b"{}"])
@pytest.mark.parametrize("count", [0, 1, 2, 7, 8, 9, 63, 64])
def test_many_keys_at_once(key_hash: str, tag: bytes, count: int) -> None:
    keys = [b"%d{tag %d}" % (number, number % 5) + b"x" * (number * 7 % 90) for number in range(count)]
    placement = Placement(THREE, [("", "10.0.1.1", 11211, 1)], "ketama", key_hash, tag)
    found = [placement.locate(key) for key in keys]
    assert placement.locate_many(keys) == found
    assert placement.locate_many(keys, False) == [(owner, -1) for owner, _ in found]


def test_many_keys_of_one_server() -> None:
    placement = Placement(THREE[:1], THREE[1:], "ketama", "md5")
    keys = [b"%d" % number for number in range(20)]
    assert placement.locate_many(keys) == [placement.locate(key) for key in keys]
    assert placement.locate_many(keys, False) == [(0, -1)] * 20


def test_more_keys_than_the_test_s_own_face_takes() -> None:
    with pytest.raises(ValueError, match="65 at once"):
        Placement(THREE, [], "ketama", "md5").locate_many([b"k"] * 65)


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_the_point_that_takes_a_key(distribution: str) -> None:
    placement = Placement(THREE, [], distribution, "md5")
    for key in MANY_KEYS[:200]:
        point, key_hash = placement.point_of(key), placement.hash_of(key)
        if distribution in ("modula", "jump", "rendezvous"):
            assert point is None
            continue
        assert point is not None
        # No key has its hash between the two and another owner.
        between = [other for other in MANY_KEYS if key_hash <= placement.hash_of(other) <= point]
        assert {placement.locate(other) for other in between} <= {placement.locate(key)}
        assert point >= key_hash or point < 2**26, "the first after the last"
