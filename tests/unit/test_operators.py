"""What operators ask for and are told."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from memagent.admin.counting import count
from memagent.admin.requests import RefusedError, UnknownError, read_request
from memagent.control import Hold, TapFilter, Taps, ToWorker
from memagent.counts import Counts
from memagent.migrator import Migrator
from memagent.observed import Hot, Slow, Tapped
from memagent.observing import Observing
from memagent.operators import Operators
from memagent.reload import Plan
from memagent.settings import Config
from memagent.snapshot import Limits, ServerSnapshot, Snapshot, from_json
from tests.support.leading import CLEAN, DOWN, UP, Leading, lead, until

NAMES = {"new.test": ("10.7.7.7",), "2001:db8::1": ("2001:db8::1",)}


class Case:
    """An operator at a leader's."""

    def __init__(self, leading: Leading) -> None:
        self.leading = leading
        self.taps: list[ToWorker] = []
        self.observing = Observing(leading.fleet, leading.segment, self.taps.append)
        self.migrator = Migrator(leading.fleet, leading.leader, self, leading.log)  # type: ignore[arg-type]
        self.operators = Operators(
            *(
                leading.leader,
                self.migrator,
                self.snapshot,
                self.metrics,
                self.count,
                leading.addresses_of,
                self.resolve,
            ),
            *(self.reload, self.set_verbose, self.flush, self.flush, self.observing, self.upgrade),
        )
        self.flushed: list[str] = []
        self.level_for_s: float | None = None

    def snapshot(self) -> Snapshot:
        limits = Limits(4096, 65536, 67108864)
        pools = self.leading.leader.pool_snapshots()
        return Snapshot("1", 1, 2.0, 1.0, (), False, limits, True, (), pools, ())

    def metrics(self, accept: str) -> tuple[str, bytes]:
        return f"text for {accept}", b"memagent_up 1\n"

    def count(self, snapshot: Snapshot) -> Counts:
        return count(snapshot, self.leading.segment)

    async def resolve(self, host: str) -> tuple[str, ...]:
        return NAMES.get(host, (host,) if host[0].isdigit() else ())

    async def reload(self) -> Plan:
        return Plan(self.leading.fleet.config, ("a change",), ("user",))

    async def set_verbose(self, verbose: bool, for_s: float | None) -> None:
        self.level_for_s = for_s
        fleet = self.leading.fleet
        fleet.config = fleet.config.model_copy(update={"verbose": verbose})

    async def flush(self, what: str) -> None:
        self.flushed.append(what)

    async def upgrade(self, force: bool, ready_s: float) -> AsyncGenerator[dict[str, Any], None]:
        yield {"ok": True, "force": force, "ready_s": ready_s}

    async def lines(self, line: str) -> list[dict[str, Any]]:
        return [answer async for answer in self.operators.answer(read_request(line.encode()))]

    async def last(self, line: str) -> dict[str, Any]:
        return (await self.lines(line))[-1]

    async def refused(self, line: str, says: str) -> RefusedError:
        with pytest.raises(RefusedError, match=says) as caught:
            await self.lines(line)
        return caught.value


def server_of(answer: dict[str, Any]) -> ServerSnapshot:
    return from_json(ServerSnapshot, answer.get("server") or answer["progress"])


def test_reload():
    async def test(leading: Leading) -> None:
        answer = await Case(leading).last('{"verb": "reload"}')
        assert answer == {"ok": True, "changes": ("a change",), "waiting": ("user",), "moving": ()}

    lead(test)


def test_upgrade():
    async def test(leading: Leading) -> None:
        case = Case(leading)
        answer = await case.last('{"verb": "upgrade", "force": true, "ready_ms": 500}')
        assert answer == {"ok": True, "force": True, "ready_s": 0.5}
        await case.refused('{"verb": "upgrade", "ready_ms": 1}', "ready_ms")

    lead(test)


def test_log_level():
    async def test(leading: Leading) -> None:
        case = Case(leading)
        assert await case.last('{"verb": "log_level"}') == {"ok": True, "level": "info"}
        assert (await case.last('{"verb": "log_level", "level": "debug"}'))["level"] == "debug"
        assert case.level_for_s is None
        answer = await case.last('{"verb": "log_level", "level": "info", "for_s": 60}')
        assert (answer["level"], case.level_for_s) == ("info", 60)
        await case.refused('{"verb": "log_level", "for_s": 60}', "which level")
        await case.refused('{"verb": "log_level", "level": "info", "for_s": 0}', "for_s: .*greater")

    lead(test)


def test_a_flush_is_confirmed_and_of_a_pool():
    async def test(leading: Leading) -> None:
        case = Case(leading)
        await case.refused('{"verb": "flush", "pool": "main"}', "confirm")
        await case.refused('{"verb": "flush", "pool": "main", "confirm": "yes"}', "confirm")
        refusal = await case.refused('{"verb": "flush", "pool": "x", "confirm": "flush_all"}', "no pool")
        assert isinstance(refusal, UnknownError)
        assert case.flushed == []
        assert await case.last('{"verb": "flush", "pool": "main", "confirm": "flush_all"}') == {"ok": True}
        assert case.flushed == ["main"]

    lead(test)


def test_one_server_is_flushed():
    async def test(leading: Leading) -> None:
        case = Case(leading)
        one = '{"verb": "flush_server", "server": "10.0.0.2:2", "confirm": "flush_all"}'
        await case.refused(one.replace("flush_all", "yes"), "confirm")
        await case.refused(one.replace("10.0.0.2:2", "x"), "no server")
        assert case.flushed == []
        assert server_of(await case.last(one)).number == 1
        unix = '{"verb": "flush_server", "server": "unix:/run/m", "confirm": "flush_all"}'
        assert server_of(await case.last(unix)).state == "up"
        assert case.flushed == ["10.0.0.2:2", "unix:/run/m"]
        leading.fail(1)
        await until(lambda: leading.state(1) == "down", "down")
        await case.refused(one, "10.0.0.2:2 is down")
        assert len(case.flushed) == 2

    lead(test, backups=["10.0.0.3:3", "unix:/run/m"])


def test_one_server():
    async def test(leading: Leading) -> None:
        case = Case(leading)
        assert server_of(await case.last('{"verb": "server", "server": "10.0.0.2:2"}')).number == 1
        assert isinstance(await case.refused('{"verb": "server", "server": "x"}', "no server"), UnknownError)

    lead(test)


def test_what_is_seen_of_requests():
    async def test(leading: Leading) -> None:
        case = Case(leading)
        [answer] = await case.lines('{"verb": "hot", "count": 3}')
        assert from_json(Hot, answer["hot"]) == Hot(0.0, 0.0, ())
        [answer] = await case.lines('{"verb": "slow"}')
        assert from_json(Slow, answer["slow"]) == Slow(100, 0, ())
        lines = case.operators.answer(
            read_request(
                b'{"verb": "tap", "prefix": "p", "server": "10.0.0.2:2", "of_verb": "get", "per_s": 7}'
            )
        )
        assert from_json(Tapped, (await anext(lines))["progress"]) == Tapped((), 0, 0)
        assert case.taps == [Taps((TapFilter(1, "p", 1, "get", 7),))]
        await lines.aclose()
        assert case.taps[-1] == Taps(())
        await case.refused('{"verb": "tap", "server": "x"}', "no server")
        await case.refused('{"verb": "tap", "of_verb": "x"}', "no verb")

    lead(test)


def test_snapshot_and_config():
    async def test(leading: Leading) -> None:
        case = Case(leading)
        [answer] = await case.lines('{"verb": "snapshot"}')
        found = from_json(Snapshot, answer["snapshot"])
        assert [server.name for server in found.servers()] == [
            server.name for server in case.snapshot().servers()
        ]
        [answer] = await case.lines('{"verb": "metrics", "accept": "anybody"}')
        assert answer == {"ok": True, "content_type": "text for anybody", "text": "memagent_up 1\n"}
        [answer] = await case.lines('{"verb": "counters"}')
        counted = from_json(Counts, answer["counts"])
        servers = from_json(Snapshot, answer["snapshot"]).servers()
        assert [each.number for each in counted.servers] == [server.number for server in servers]
        [answer] = await case.lines('{"verb": "config"}')
        assert Config.model_validate(answer["config"]) == leading.fleet.config
        assert answer["addresses"] == [["10.0.0.1:1"], ["10.0.0.2:2"], ["10.0.0.3:3"], ["unix:/run/m"]]

    lead(test, backups=["10.0.0.3:3", "unix:/run/m"])


def test_drained_and_back():
    async def test(leading: Leading) -> None:
        case = Case(leading)
        draining = asyncio.create_task(case.lines('{"verb": "drain", "server": "10.0.0.1:1"}'))
        await until(lambda: leading.told[-1:] == [Hold((0,))], "told to hold")
        await until(lambda: leading.state(0) == "draining", "draining")
        leading.fail(0)
        answers = await draining
        assert server_of(answers[0]).state == "draining"
        assert (server_of(answers[-1]).state, server_of(answers[-1]).held) == ("drained", True)
        assert server_of(answers[-1]).reason == "told to drain"
        await case.refused('{"verb": "rewarm", "server": "10.0.0.1:1"}', "is drained")
        back = await case.last('{"verb": "undrain", "server": "10.0.0.1:1", "wait": false}')
        assert leading.told[-1] == Hold(())
        assert server_of(back).state == "down"
        leading.all_say(0, CLEAN)
        await until(lambda: leading.is_open(0) and leading.state(0) == "up", "open")
        await case.refused('{"verb": "undrain", "server": "10.0.0.1:1"}', "not drained: it is up")
        assert "outage begins" not in leading.log.events
        assert any(event.startswith("server is let in again") for event in leading.log.events)

    lead(test)


def test_no_key_is_left_without_a_live_copy_unless_forced():
    async def test(leading: Leading) -> None:
        case = Case(leading)
        leading.fail(3)
        leading.leader.look()
        refusal = await case.refused('{"verb": "drain", "server": "10.0.0.1:1"}', "10.0.0.4:4 is down")
        assert refusal.can_force
        await case.refused('{"verb": "replace", "server": "10.0.0.1:1", "address": "10.9.9.9:1"}', "no other")
        assert leading.told == []
        line = '{"verb": "drain", "server": "10.0.0.1:1", "force": true, "wait": false}'
        assert server_of(await case.last(line)).held
        # What is down already loses nobody anything.
        assert server_of(await case.last('{"verb": "drain", "server": "10.0.0.4:4", "wait": false}')).held

    lead(test)


def test_without_copies_every_server_is_the_only_one():
    async def test(leading: Leading) -> None:
        case = Case(leading)
        refusal = await case.refused('{"verb": "drain", "server": "10.0.0.1:1"}', "only copy")
        assert refusal.can_force
        await case.refused('{"verb": "rewarm", "server": "10.0.0.1:1"}', "no copies")
        draining = asyncio.create_task(case.last('{"verb": "drain", "server": "10.0.0.1:1", "force": true}'))
        await until(lambda: leading.state(0) == "draining", "draining")
        leading.all_say(0, DOWN)
        assert server_of(await draining).state == "drained"

    lead(test, backups=[])


def test_which_server_is_meant():
    async def test(leading: Leading) -> None:
        case = Case(leading)
        await case.refused('{"verb": "drain", "server": "nobody"}', "no server")
        refusal = await case.refused('{"verb": "drain", "server": "both"}', "server of the pool main, backup")
        assert "pool" in str(refusal.hint)
        line = '{"verb": "drain", "server": "both", "backup": true, "wait": false}'
        assert server_of(await case.last(line)).number == 2

    both = {"address": "10.0.0.3:3", "name": "both"}
    lead(test, servers=[both, "10.0.0.2:2"], backups=[both, "10.0.0.4:4"])


def test_replaced():
    async def test(leading: Leading) -> None:
        case = Case(leading)
        for address, says in {
            "10.0.0.1:1": "already",
            "10.0.0.2:2": "is 10.0.0.2:2",
            "10.0.0.3:3": "is 10.0.0.3:3",
            "nowhere.test:1": "has no address",
            "a:b:c": "address",
        }.items():
            line = f'{{"verb": "replace", "server": "10.0.0.1:1", "address": "{address}"}}'
            await case.refused(line, says)
        line = '{"verb": "replace", "server": "10.0.0.1:1", "address": "new.test:5"}'
        replacing = asyncio.create_task(case.lines(line))
        await until(lambda: leading.state(0) == "draining", "draining")
        await case.refused(line, "being replaced")
        await case.refused('{"verb": "drain", "server": "10.0.0.1:1"}', "being replaced")
        await case.refused('{"verb": "undrain", "server": "10.0.0.1:1"}', "being replaced")
        leading.fail(0)
        await until(lambda: leading.fleet.members[0].replaced, "replaced")
        leading.all_say(0, CLEAN, emptied=True)
        last = (await replacing)[-1]
        assert "servers: {address: new.test:5, name: 10.0.0.1:1}" in last["text"]
        found = server_of(last)
        assert (found.address, found.state, found.replaced) == ("new.test:5", "up", True)
        assert found.warm is not None

    lead(test)


def test_what_changes_while_the_name_is_looked_up_counts():
    """A copy falls, or somebody else puts another server there."""

    async def test(leading: Leading) -> None:
        case = Case(leading)
        looked_up = asyncio.Event()
        looking: list[str] = []

        async def resolve(host: str) -> tuple[str, ...]:
            looking.append(host)
            await looked_up.wait()
            return ("10.7.7.7",)

        slow = Operators(
            *(leading.leader, case.migrator, case.snapshot, case.metrics, case.count),
            *(leading.addresses_of, resolve),
            *(case.reload, case.set_verbose, case.flush, case.flush, case.observing, case.upgrade),
        )

        async def replace(name: str, address: str) -> None:
            line = f'{{"verb": "replace", "server": "{name}", "address": "{address}", "wait": false}}'
            async for _ in slow.answer(read_request(line.encode())):
                pass

        first = asyncio.create_task(replace("10.0.0.1:1", "new.test:5"))
        second = asyncio.create_task(replace("10.0.0.2:2", "new.test:5"))
        third = asyncio.create_task(replace("10.0.0.4:4", "other.test:5"))
        await until(lambda: len(looking) == 3, "all three to look up a name")
        leading.fail(1)
        leading.leader.look()
        looked_up.set()
        await first
        with pytest.raises(RefusedError, match=r'"new\.test:5" is about to be 10\.0\.0\.1:1'):
            await second
        with pytest.raises(RefusedError, match=r"no other live copy: .*10\.0\.0\.2:2 is down") as caught:
            await third
        assert caught.value.can_force
        assert leading.leader.lifecycle.held == (0,)

    lead(test)


def test_who_waits_is_told_when_somebody_else_wants_something_else():
    async def test(leading: Leading) -> None:
        case = Case(leading)

        async def waiting(verb: str) -> "asyncio.Task[None]":
            line = f'{{"verb": "{verb}", "server": "10.0.0.1:1"}}'
            task = asyncio.create_task(case.lines(line))
            await asyncio.sleep(0.1)
            assert not task.done()
            return task

        draining = await waiting("drain")
        await case.last('{"verb": "undrain", "server": "10.0.0.1:1", "wait": false}')
        with pytest.raises(RefusedError, match="was undrained or replaced meanwhile"):
            await draining
        for verb in ("rewarm", "undrain"):
            if verb == "undrain":
                leading.fail(0)
            back = await waiting(verb)
            await case.last('{"verb": "drain", "server": "10.0.0.1:1", "wait": false, "force": true}')
            with pytest.raises(RefusedError, match="was drained meanwhile: it is drain"):
                await back
        await case.last('{"verb": "undrain", "server": "10.0.0.1:1", "wait": false}')
        leading.all_say(0, CLEAN)
        await until(lambda: leading.is_open(0) and leading.state(0) == "up", "open")
        leading.all_say(0, UP)
        draining = await waiting("drain")
        line = '{"verb": "replace", "server": "10.0.0.1:1", "address": "new.test:5", "wait": false}'
        await case.last(line)
        with pytest.raises(RefusedError, match="was undrained or replaced meanwhile"):
            await draining

    lead(test)


def test_rewarmed_because_somebody_asked():
    async def test(leading: Leading) -> None:
        case = Case(leading)
        warming = asyncio.create_task(case.lines('{"verb": "rewarm", "server": "10.0.0.3:3"}'))
        await until(lambda: Hold((2,)) in leading.told, "out of service")
        leading.fail(2)
        await until(lambda: leading.told[-1] == Hold(()), "let go")
        leading.all_say(2, CLEAN)
        await until(lambda: leading.segment.server_totals(2)["warm_keys"] == 40, "progress")
        both = asyncio.create_task(case.lines('{"verb": "rewarm", "server": "10.0.0.3:3"}'))
        flush = '{"verb": "flush_server", "server": "10.0.0.3:3", "confirm": "flush_all"}'
        await case.refused(flush, "being refilled")
        paused = server_of(await case.last('{"verb": "rewarm_pause", "server": "10.0.0.3:3"}'))
        assert paused.warm is not None
        assert paused.warm.state == "paused"
        await case.last('{"verb": "rewarm_resume", "server": "10.0.0.3:3"}')
        await case.last('{"verb": "rewarm_abort", "server": "10.0.0.3:3"}')
        for answers in (await warming, await both):
            found = server_of(answers[-1])
            assert found.warm is not None
            assert (found.state, found.warm.state) == ("up", "aborted")
        for verb in ("rewarm_pause", "rewarm_resume", "rewarm_abort"):
            await case.refused(f'{{"verb": "{verb}", "server": "10.0.0.3:3"}}', "no re-warm")

    lead(test, "wait")


def test_a_rewarm_that_makes_no_sense():
    async def test(leading: Leading) -> None:
        case = Case(leading)
        leading.fail(0)
        leading.fail(1)
        leading.leader.look()
        await case.refused('{"verb": "rewarm", "server": "10.0.0.1:1"}', "is down")
        await case.refused('{"verb": "rewarm", "server": "10.0.0.3:3"}', "no server that has copies")

    lead(test)


def test_migrations_that_there_are_not():
    async def test(leading: Leading) -> None:
        case = Case(leading)
        for verb in ("migration_pause", "migration_resume", "migration_abort"):
            for words, problem in (
                ("", "no keys are moving"),
                (', "pool": "main"', "no keys of the pool main are moving"),
                (', "pool": "x"', "there is no pool"),
            ):
                request = read_request(f'{{"verb": "{verb}"{words}}}'.encode())
                with pytest.raises(RefusedError, match=problem):
                    await anext(case.operators.answer(request))

    lead(test)
