"""The compiled placement and the plain one agree on anything; a new server moves what it must and no more."""

from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from memagent._core.hashing import KEY_HASHES, key_hash
from memagent._core.ring import DISTRIBUTIONS, Placement
from tests.reference import hashing as plain_hashing
from tests.reference.ring import PlainPlacement, ring_name

KEYS = [f"session/{number:06x}".encode() for number in range(2000)]

server = st.tuples(
    st.one_of(st.just(""), st.text(st.characters(min_codepoint=33, exclude_categories=["Cs"]), max_size=12)),
    st.sampled_from(["10.0.0.1", "10.0.0.2", "cache.example", "::1", "/run/m.sock"]),
    st.sampled_from([0, 11211, 11212, 22122]),
    st.one_of(st.just(1), st.integers(1, 1000)),
)
key = st.one_of(st.binary(max_size=250), st.binary(max_size=8).map(lambda part: b"a{" + part + b"}b"))


@st.composite
def pools(draw: st.DrawFn) -> tuple[Any, ...]:
    distribution = draw(st.sampled_from(DISTRIBUTIONS))
    servers = draw(st.lists(server, min_size=1, max_size=6))
    backups = draw(st.lists(server, max_size=3))
    name_of_key_hash = draw(st.sampled_from(KEY_HASHES))
    if distribution == "magent-ketama":
        name_of_key_hash = "md5"
        servers = [(*each[:3], 1) for each in servers]
        backups = [(*each[:3], 1) for each in backups]
    for each in (servers, backups):
        assume(len({name or ring_name(host, port) for name, host, port, _ in each}) == len(each))
        assume(len({name or f"{host}-{port}" for name, host, port, _ in each}) == len(each))
        assume(len({(host, port != 0 and port) for _, host, port, _ in each}) == len(each))
    return (
        servers,
        backups,
        distribution,
        name_of_key_hash,
        draw(st.sampled_from([b"", b"{}"])),
        draw(st.integers(1, 2)),
    )


@given(st.binary(max_size=600), st.sampled_from(KEY_HASHES))
def test_key_hashes_agree(data: bytes, name: str) -> None:
    assert key_hash(name, data) == plain_hashing.KEY_HASHES[name](data)


@given(pools(), st.lists(key, min_size=1, max_size=5))
def test_placements_agree(pool: tuple[Any, ...], keys: list[bytes]) -> None:
    compiled, plain = Placement(*pool), PlainPlacement(*pool)
    assert [compiled.locate(each) for each in keys] == [plain.locate(each) for each in keys]


@given(pools(), st.lists(key, max_size=30))
def test_many_keys_at_once_are_placed_as_one_by_one(pool: tuple[Any, ...], keys: list[bytes]) -> None:
    placement = Placement(*pool)
    found = [placement.locate(each) for each in keys]
    assert placement.locate_many(keys) == found
    assert placement.locate_many(keys, False) == [(owner, -1) for owner, _ in found]


@given(pools(), pools(), st.integers(0, 3), st.booleans(), st.lists(key, max_size=70))
def test_a_key_that_moves_has_its_former_and_its_new_server(
    former: tuple[Any, ...], new: tuple[Any, ...], shared: int, settles: bool, keys: list[bytes]
) -> None:
    """Some of the former servers stand among the new ones, the others behind them."""
    former, new = ((each[0], [], *each[2:5], 1) for each in (former, new))
    n_new = len(new[0])
    places = [place if place < min(shared, n_new) else n_new + place for place in range(len(former[0]))]
    moving = Placement(*new, former=Placement(*former), former_places=places, settles=settles)
    plain_former, plain_new = PlainPlacement(*former), PlainPlacement(*new)
    for each in keys:
        was, will_be = places[plain_former.locate(each)[0]], plain_new.locate(each)[0]
        pair = (will_be, was) if settles else (was, will_be)
        assert moving.locate(each) == (pair if was != will_be else (was, -1))
    for part in (keys[:64], keys[64:]):
        found = [moving.locate(each) for each in part]
        assert moving.locate_many(part) == found
        assert moving.locate_many(part, False) == [(owner, -1) for owner, _ in found]


@settings(max_examples=40)
@given(
    st.sampled_from(["ketama", "consistent", "magent-ketama", "jump", "rendezvous"]),
    st.lists(st.integers(0, 0xFFFFFF), min_size=3, max_size=12, unique=True),
)
def test_a_new_server_takes_its_share_and_moves_nothing_else(distribution: str, hosts: list[int]) -> None:
    servers = [("", f"10.{host >> 16}.{host >> 8 & 255}.{host & 255}", 11211, 1) for host in hosts]
    before = Placement(servers[:-1], [], distribution, "md5")
    after = Placement(servers, [], distribution, "md5")
    newest = len(servers) - 1
    moved = 0
    for each in KEYS:
        old, new = before.locate(each)[0], after.locate(each)[0]
        if old != new:
            moved += 1
            assert new == newest
    assert 0.4 / len(servers) < moved / len(KEYS) < 2.2 / len(servers)


@settings(max_examples=20)
@given(st.permutations(range(6)))
def test_rendezvous_and_rings_do_not_care_for_order(order: list[int]) -> None:
    servers = [("", f"10.0.0.{number}", 11211, 1) for number in range(6)]
    shuffled = [servers[number] for number in order]
    for distribution in ("ketama", "consistent", "magent-ketama", "rendezvous"):
        straight, mixed = (
            Placement(servers, [], distribution, "md5"),
            Placement(shuffled, [], distribution, "md5"),
        )
        for each in KEYS[:200]:
            assert servers[straight.locate(each)[0]] == shuffled[mixed.locate(each)[0]]
