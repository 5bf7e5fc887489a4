"""Servers by number, and the address of one that is replaced."""

from typing import Any, get_args

import pytest

from memagent.fleet import Fleet
from memagent.settings import Config, Distribution
from memagent.topology import make_placement

KEYS = [f"key{n}".encode() for n in range(300)]


def fleet(*, pool: dict[str, Any] | None = None) -> Fleet:
    main = {"name": "main", "servers": ["10.0.0.1", "10.0.0.2:5", "unix:/run/m"], **(pool or {})}
    return Fleet(Config.model_validate({"pools": [main]}))


def test_numbers_and_who_holds_whose_copies():
    found = fleet(pool={"backups": ["b1", "b2"]})
    assert [(each.number, each.place, each.backup) for each in found.members.values()] == [
        (0, 0, False), (1, 1, False), (2, 2, False), (3, 3, True), (4, 4, True),
    ]  # fmt: skip
    assert [found.sources(number) for number in range(5)] == [(3, 4)] * 3 + [(0, 1, 2)] * 2
    assert fleet(pool={"copies": 2}).sources(1) == (0, 2)
    assert fleet().sources(0) == ()
    assert [each.host for each in found.members.values()][1:3] == ["10.0.0.2", None]


def test_found_by_name_or_address():
    named = fleet(
        pool={
            "servers": [{"address": "a:1", "name": "cache"}, "b:1"],
            "backups": [{"address": "a:1", "name": "cache"}],
        }
    )
    assert [each.number for each in named.find("b:1", None, None)] == [1]
    assert [each.number for each in named.find("cache", None, None)] == [0, 2]
    assert [each.number for each in named.find("cache", "main", True)] == [2]
    assert [each.number for each in named.find("a:1", None, False)] == [0]
    assert [each.number for each in named.find("main/cache", None, False)] == [0]
    assert [each.number for each in named.find("main/b:1", None, None)] == [1]
    assert named.find("cache", "other", None) == named.find("c", None, None) == []
    assert [each.number for each in fleet().find("10.0.0.1", None, None)] == [0]


@pytest.mark.parametrize("distribution", get_args(Distribution))
@pytest.mark.parametrize("names", [(None, None, None), (None, "a", "b"), ("a", "b", "c")])
def test_the_ring_does_not_move(distribution: Distribution, names: tuple[str | None, ...]):
    addresses = ["10.0.0.1", "10.0.0.2:5", "unix:/run/m"]
    servers = [
        {"address": address, **({"name": name} if name else {})}
        for address, name in zip(addresses, names, strict=True)
    ]
    found = fleet(pool={"distribution": distribution, "servers": servers, "backups": ["10.0.0.9"]})
    before = make_placement(found.config.pools[0])
    for number, new in enumerate(["10.7.0.1:1", "10.7.0.2", "new.test", "unix:/run/b"]):
        found.replace(number, found.with_address(number, new))
        assert (found.members[number].server.address, found.members[number].replaced) == (new, True)
    after = make_placement(found.config.pools[0])
    assert [before.locate(key) for key in KEYS] == [after.locate(key) for key in KEYS]
    assert Config.model_validate_json(found.config.model_dump_json()) == found.config


def test_addresses_that_cannot_be():
    found = fleet(pool={"servers": ["a:1", {"address": "b:1", "name": "n"}], "backups": ["x:1"]})
    for text, says in {
        "a:1": "is where it is already",
        "b:1": "is n",
        "x:1": "is x:1",
        "a:99999": "port",
    }.items():
        with pytest.raises(ValueError, match=says):
            found.with_address(0, text)
    assert not found.members[0].replaced


def main(servers: list[Any], **pool: Any) -> Config:
    return Config.model_validate({"pools": [{"name": "main", "servers": servers, **pool}]})


def test_a_server_keeps_its_number_and_a_free_one_is_given_again():
    found = Fleet(main(["a:1", "b:1", "c:1"]))
    change = found.change(main(["c:1", "d:1", "a:1"], request_timeout_ms=5))
    assert (change.joined, change.left, change.moving) == ((3,), (1,), {})
    assert found.numbers == (2, 3, 0)
    assert [member.place for member in found.members.values()] == [0, 1, 2]
    change = found.change(main(["a:1", "b:1"]))
    assert (change.joined, change.left) == ((4,), (2, 3)), "1 may still be used"
    for number in (1, 2, 3):
        found.let_go(number)
    assert found.change(main(["a:1", "b:1", "e:1", "f:1"])).joined == (1, 2)
    assert found.numbers == (0, 4, 1, 2)


def test_what_is_made_once_makes_another_server():
    found = Fleet(main(["a:1", "b:1"]))
    assert found.change(main(["a:1", "b:1"], connections_per_server=2)).joined == (2, 3)
    assert found.change(main(["a:1"], backups=["b:1"], connections_per_server=2)).joined == (4, 5)


def test_a_named_server_that_moves_stays_until_it_has_moved():
    old, new = {"address": "a:1", "name": "one"}, {"address": "b:2", "name": "one", "weight": 7}
    found = Fleet(main([old, "c:1"]))
    change = found.change(main([new, "c:1"]))
    assert (change.joined, change.left) == ((), ())
    assert (found.members[0].address, found.members[0].server.weight) == ("a:1", 7)
    found.replace(0, change.moving[0], in_file=True)
    assert (found.members[0].address, found.members[0].replaced) == ("b:2", False)
    assert found.config == main([new, "c:1"])


def test_the_file_wins_over_what_an_operator_did():
    config = main([{"address": "a:1", "name": "one"}, "c:1"])
    found = Fleet(config)
    found.replace(0, found.with_address(0, "x:9"))
    assert found.members[0].replaced
    [(number, server)] = found.change(config).moving.items()
    assert (number, server.address, found.members[0].address) == (0, "a:1", "x:9")


def pools(*names: str) -> Config:
    return Config.model_validate(
        {"pools": [{"name": name, "servers": [f"{name}:1"], "prefixes": [name]} for name in names]}
    )


def test_a_pool_keeps_its_number_and_one_that_left_is_given_again_late():
    found = Fleet(pools("a", "b", "c"))
    assert found.pool_numbers == (0, 1, 2)
    assert found.change(pools("c", "d", "a")).new_pools == (3,)
    assert found.pool_numbers == (2, 3, 0)
    assert found.change(pools("d", "e")).new_pools == (1,)
    assert found.change(pools("f", "e")).new_pools == (0,)
    many = [f"p{number}" for number in range(256)]
    assert sorted(found.change(pools(*many)).new_pools) == list(range(256))
    assert sorted(found.change(pools("z", *many[1:])).new_pools) == [found.pool_numbers[0]]
