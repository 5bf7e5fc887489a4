"""Servers' names -> IP addresses."""

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from memagent.resolver import Addresses, Resolver, is_literal, lookup


class Names:
    """A name server of our own: answers, failures, and lookups that hang until released."""

    def __init__(self) -> None:
        self.answers: dict[str, Addresses | Exception] = {}
        self.asked: list[str] = []
        self.changes: list[tuple[str, Addresses]] = []
        self.failures: list[tuple[str, str]] = []
        self.now_s = 0.0
        self.hanging = threading.Event()
        self.hanging.set()

    def lookup(self, host: str) -> Addresses:
        self.asked.append(host)
        self.hanging.wait(30)
        answer = self.answers[host]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def resolver(self, deadline_s: float = 20.0) -> Resolver:
        return Resolver(
            lambda host, addresses: self.changes.append((host, addresses)),
            lambda host, why: self.failures.append((host, why)),
            deadline_s=deadline_s,
            lookup=self.lookup,
            clock=lambda: self.now_s,
        )


@pytest.fixture
def names() -> Iterator[Names]:
    names = Names()
    yield names
    names.hanging.set()


def test_an_address_is_never_looked_up(names: Names):
    async def go() -> None:
        resolver = names.resolver()
        await resolver.resolve_all(["10.0.0.1", "::1"])
        assert resolver.known("10.0.0.1") == ("10.0.0.1",)
        assert await resolver.resolve("::1") == ("::1",)

    asyncio.run(go())
    assert names.asked == []
    assert not is_literal("10.0.0.1.example")


def test_a_name_may_have_several_addresses_and_changes_are_told(names: Names):
    async def go() -> None:
        resolver = names.resolver()
        names.answers["a"] = ("10.0.0.1", "10.0.0.2")
        assert resolver.known("a") == ()
        assert await resolver.resolve("a") == ("10.0.0.1", "10.0.0.2")
        names.answers["a"] = ("10.0.0.2", "10.0.0.1")
        names.now_s += 2
        await resolver.resolve("a")
        names.answers["a"] = ("10.0.0.3",)
        names.now_s += 2
        assert await resolver.resolve("a") == ("10.0.0.3",)

    asyncio.run(go())
    assert names.changes == [("a", ("10.0.0.1", "10.0.0.2")), ("a", ("10.0.0.3",))]
    assert names.failures == []


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (socket.gaierror(-2, "Name or service not known"), "Name or service not known"),
        (UnicodeError("x"), "x"),
    ],
)
def test_a_name_that_cannot_be_resolved_keeps_what_it_had(names: Names, error: Exception, why: str):
    async def go() -> None:
        resolver = names.resolver()
        names.answers["a"] = ("10.0.0.1",)
        await resolver.resolve("a")
        names.answers["a"] = error
        names.now_s += 2
        assert await resolver.resolve("a") == ("10.0.0.1",)

    asyncio.run(go())
    assert names.failures == [("a", why)]
    assert names.changes == [("a", ("10.0.0.1",))]


def test_a_failure_that_lasts_is_told_once(names: Names):
    down, other = socket.gaierror(-2, "no such name"), socket.gaierror(-3, "try again")

    async def go() -> None:
        resolver = names.resolver()
        for answer in (down, down, other, other, ("1.1.1.1",), other):
            names.answers["a"] = answer
            await resolver.resolve("a")
            names.now_s += 5

    asyncio.run(go())
    assert names.failures == [("a", "no such name"), ("a", "try again"), ("a", "try again")]


def test_a_name_is_looked_up_once_however_many_ask(names: Names):
    async def go() -> None:
        resolver = names.resolver()
        names.answers.update({"a": ("10.0.0.1",), "b": ("10.0.0.2",)})
        await asyncio.gather(*(resolver.resolve("a") for _ in range(50)))
        names.now_s += 0.9
        await resolver.resolve("a")
        assert names.asked == ["a"]
        names.now_s += 0.2
        await resolver.resolve("a")
        assert names.asked == ["a", "a"]
        await resolver.resolve_all(["b", "b"])
        assert names.asked == ["a", "a", "b"]

    asyncio.run(go())


def test_a_lookup_that_hangs_ends_at_its_deadline_and_keeps_nobody_from_exiting(names: Names):
    names.hanging.clear()

    async def go() -> None:
        resolver = names.resolver(deadline_s=0.05)
        assert await resolver.resolve("a") == ()

    asyncio.run(go())  # returns although the thread still hangs
    assert names.failures == [("a", "no answer within 0.05 s")]
    assert not names.hanging.is_set()


def test_a_slow_name_does_not_hold_up_another(names: Names):
    def slow_a(host: str) -> Addresses:
        if host == "a":
            names.hanging.wait(30)
        return ("10.0.0.1",)

    names.hanging.clear()

    async def go() -> None:
        resolver = Resolver(lambda *_: None, lambda *_: None, lookup=slow_a)
        waiting = asyncio.create_task(resolver.resolve("a"))
        assert await resolver.resolve("b") == ("10.0.0.1",)
        assert not waiting.done()
        names.hanging.set()
        assert await waiting == ("10.0.0.1",)

    asyncio.run(go())


def test_who_gives_up_does_not_end_the_lookup_for_others(names: Names):
    names.hanging.clear()
    names.answers["a"] = ("10.0.0.1",)

    async def go() -> None:
        resolver = names.resolver()
        first = asyncio.create_task(resolver.resolve("a"))
        second = asyncio.create_task(resolver.resolve("a"))
        await asyncio.sleep(0)
        first.cancel()
        names.hanging.set()
        assert await second == ("10.0.0.1",)

    asyncio.run(go())


def test_the_system_knows_localhost():
    assert set(lookup("localhost")) <= {"127.0.0.1", "::1"}
    with pytest.raises(OSError, match=r".+"):
        lookup("no-such-name.invalid")


def test_a_scope_stays_with_its_address(monkeypatch: pytest.MonkeyPatch):
    def found(*_: object, **__: object) -> list[tuple[object, ...]]:
        return [(0, 0, 0, "", ("fe80::1", 0, 0, 2)), (0, 0, 0, "", ("::1", 0, 0, 0))]

    getaddrinfo: Callable[..., object] = found
    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    assert lookup("x") == ("fe80::1%2", "::1")
