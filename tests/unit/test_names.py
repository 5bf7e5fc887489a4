"""What servers' names mean, and who is told."""

import asyncio
import socket
from typing import Any

import pytest

from memagent.control import Addresses, ToWorker
from memagent.fleet import Fleet
from memagent.names import Names
from memagent.settings import Config
from tests.support.leading import Memory, until

FOUND = ("10.0.0.7", "10.0.0.8")


def config_of(*servers: str) -> Config:
    main = {"name": "main", "servers": servers, "backups": ["a.test:4"]}
    return Config.model_validate({"pools": [main]})


CONFIG = config_of("a.test:1", "10.0.0.1:2", "unix:/run/m")


class Case:
    def __init__(self) -> None:
        self.log = Memory()
        self.told: list[ToWorker] = []
        self.fleet = Fleet(CONFIG)
        self.names = Names(self.fleet, self.told.append, self.log)  # type: ignore[arg-type]


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """The name server: what each name means now."""
    known: dict[str, list[str]] = {"a.test": list(FOUND)}

    def getaddrinfo(host: str, *_: object, **__: object) -> list[Any]:
        if host not in known:
            raise socket.gaierror(-2, "Name or service not known")
        return [(0, 0, 0, "", (address, 0)) for address in known[host]]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return known


def test_what_a_name_means_is_told_to_all_and_known_of_each_server(known: dict[str, list[str]]):
    case = Case()
    asyncio.run(case.names.look_up_all())
    assert case.told == [Addresses(0, FOUND), Addresses(3, FOUND)]
    assert [case.names.addresses_of(server) for server in range(4)] == [FOUND, ("10.0.0.1",), (), FOUND]
    assert case.log.events == ["name resolved"]


def test_who_asks_for_a_server_is_answered(known: dict[str, list[str]]):
    case = Case()

    async def ask() -> list[Addresses]:
        return [await case.names.ask(server) for server in range(3)]

    assert asyncio.run(ask()) == [Addresses(0, FOUND), Addresses(1, ("10.0.0.1",)), Addresses(2, ())]


def test_a_name_that_means_nothing_is_logged(known: dict[str, list[str]]):
    case = Case()
    known.clear()
    asyncio.run(case.names.look_up_all())
    ((event, facts),) = case.log.said
    assert (event, facts["name"], facts["addresses_kept"]) == ("name cannot be resolved", "a.test", ())
    assert case.told == []


def test_of_a_new_configuration_only_what_is_new_is_looked_up(known: dict[str, list[str]]):
    case = Case()
    known["b.test"] = ["10.0.0.9"]

    async def reload() -> None:
        await case.names.look_up_all()
        known["a.test"] = ["10.0.0.1"]
        await case.names.look_up_new(config_of("a.test:1", "b.test:1", "unix:/run/n"))

    asyncio.run(reload())
    assert case.names.resolver.known("b.test") == ("10.0.0.9",)
    assert case.names.resolver.known("a.test") == FOUND


def test_they_are_looked_up_again_as_often_as_the_setting_says(known: dict[str, list[str]]):
    case = Case()
    case.fleet.config = CONFIG.model_copy(update={"dns_refresh_ms": 5})

    async def keep_up() -> None:
        keeping = asyncio.create_task(case.names.keep_up())
        await until(lambda: len(case.told) == 2, "the first look")
        keeping.cancel()
        await asyncio.wait([keeping])

    asyncio.run(keep_up())
