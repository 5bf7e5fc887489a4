"""When an upgrade is refused, and what is told of one; whole processes are in tests/functional."""

import asyncio
from collections.abc import Mapping

import pytest

from memagent.admin.requests import RefusedError
from memagent.migration import with_migrations
from memagent.successor import Command, Inheritance
from memagent.upgrade import Upgrade
from tests.support.leading import Leading, lead


class Crew:
    def __init__(self) -> None:
        self.draining = asyncio.Event()

    def alive(self) -> set[int]:
        return set()


class Case:
    """The estate too."""

    def __init__(self, leading: Leading, pid: int = 7, **environment: str) -> None:
        self.changes: tuple[str, ...] = ()
        self.notifies: Mapping[str, str] = {}
        self.crew = Crew()
        self.log = leading.log
        command = Command(("/no/such/magent",), "/", environment)
        self.upgrade = Upgrade(
            *(command, self, leading.leader, self.crew, self.unread, leading.log, pid)  # type: ignore[arg-type]
        )

    async def unread(self) -> tuple[str, ...]:
        return self.changes

    def inheritance(self) -> Inheritance:
        return Inheritance([], [], 0, self.notifies)

    async def refused(self, force: bool = False) -> RefusedError:
        with pytest.raises(RefusedError) as caught:
            [line async for line in self.upgrade.answer(force, 1.0)]
        return caught.value

    async def tried(self, force: bool = False) -> bool:
        """Nothing stood in its way but that there is nothing to start."""
        return "cannot be started" in (await self.refused(force)).error


def test_what_cannot_be_started_is_told_and_logged():
    async def test(leading: Leading) -> None:
        case = Case(leading)
        refusal = await case.refused()
        assert (
            refusal.error == "the new version cannot be started: /no/such/magent: No such file or directory"
        )
        [(event, facts)] = [each for each in case.log.said if "upgrade" in each[0]]
        assert (event, facts["problem"]) == ("not upgraded, nothing has changed", refusal.error)
        assert await case.tried()

    lead(test)


def test_a_server_that_is_out_or_held():
    async def test(leading: Leading) -> None:
        case = Case(leading)
        leading.fail(3)
        leading.leader.look()
        refusal = await case.refused()
        assert refusal.error.startswith("10.0.0.4:4 is down")
        assert refusal.can_force
        assert await case.tried(force=True)

    lead(test)


@pytest.mark.parametrize("held", [False, True])
def test_without_copies_only_a_held_one_matters(held: bool):
    async def test(leading: Leading) -> None:
        case = Case(leading)
        leading.fail(1)
        leading.leader.look()
        if held:
            leading.leader.lifecycle.hold(0)
            assert "10.0.0.1:1 is" in (await case.refused()).error
        else:
            assert await case.tried()

    lead(test, backups=[])


def test_keys_that_move():
    async def test(leading: Leading) -> None:
        now = leading.fleet.config
        [pool] = now.pools
        new = pool.model_copy(update={"servers": pool.servers[:1]})
        leading.fleet.stay(with_migrations(now, now.model_copy(update={"pools": (new,)})))
        case = Case(leading)
        refusal = await case.refused()
        assert refusal.error.startswith("keys of main are moving")
        assert refusal.can_force
        assert await case.tried(force=True)

    lead(test, backups=[], on_change="migrate")


def test_a_file_that_is_not_in_force():
    async def test(leading: Leading) -> None:
        case = Case(leading)
        case.changes = ("servers: a goes", "servers: b comes")
        refusal = await case.refused()
        assert refusal.error.endswith("than what is in force: servers: a goes; servers: b comes")
        assert refusal.can_force
        assert await case.tried(force=True)

    lead(test)


def test_where_our_end_would_be_the_services():
    async def test(leading: Leading) -> None:
        refusal = await Case(leading, pid=1).refused(force=True)
        assert (refusal.can_force, "process 1" in refusal.error) == (False, True)
        case = Case(leading, SYSTEMD_EXEC_PID="7")
        refusal = await case.refused()
        assert "Type=notify" in str(refusal.hint)
        assert await case.tried(force=True)
        case.notifies = {"NOTIFY_SOCKET": "/run/notify"}
        assert await case.tried()
        assert await Case(leading, SYSTEMD_EXEC_PID="8").tried()

    lead(test)


def test_a_proxy_that_ends_is_not_upgraded():
    async def test(leading: Leading) -> None:
        case = Case(leading)
        case.crew.draining.set()
        assert "ending" in (await case.refused(force=True)).error
        await case.upgrade.close()
        await case.upgrade.say_goodbye()

    lead(test)
