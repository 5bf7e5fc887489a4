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
