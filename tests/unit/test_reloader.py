"""A reload without processes: what workers are told, and when a number is free again."""

import asyncio
import os
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator
from logging import ERROR
from pathlib import Path
from typing import Any

import pytest
import structlog

from memagent.admin.requests import RefusedError
from memagent.config import Loaded
from memagent.control import Gone, Hold, Reload, Reloaded, ToWorker
from memagent.errors import ConfigError
from memagent.layers import mapping
from memagent.leader import Move
from memagent.listeners import Listeners
from memagent.names import Names
from memagent.notify import Notify
from memagent.reading import read_text
from memagent.reloader import Reloader
from memagent.settings import Config, ListenAddress
from tests.support.leading import CLEAN, Leading, lead, until
from tests.support.ports import free_port


@pytest.fixture(autouse=True)
def _structlog_as_before() -> Iterator[None]:
    yield
    structlog.reset_defaults()


class Case:
    """Two workers that do at once what they are told, and a file that a test may change."""

    def __init__(self, leading: Leading) -> None:
        self.leading = leading
        self.warnings: tuple[str, ...] = ()
        self.told: list[Reload] = []  # to the first worker
        self.listen = at(f"127.0.0.1:{free_port()}")
        leading.fleet.config = leading.fleet.config.model_copy(update={"listen": self.listen})
        self.config: Config | ConfigError = leading.fleet.config
        self.listeners = Listeners.bind(leading.fleet.config.listens, 2)
        self.moves = 0
        self.sizes: list[int] = []
        self.reading, self.hangs = threading.Event(), threading.Event()
        self.hangs.set()
        self.reloader = Reloader(
            leading.fleet.config,
            self.read,
            lambda config: config,
            leading.fleet,
            leading.segment,
            leading.leader,
            Names(leading.fleet, self.tell_all, leading.log),  # type: ignore[arg-type]
            self,
            self.listeners,
            self.note_move,
            leading.log,  # type: ignore[arg-type]
            Notify(),
            look_s=0.01,
        )

    def read(self) -> Loaded:
        self.reading.set()
        self.hangs.wait()
        if isinstance(self.config, ConfigError):
            raise self.config
        config = self.config.model_copy(update={"listen": self.listen})
        return Loaded(config, mapping("a test"), self.warnings)

    def alive(self) -> set[int]:
        return self.leading.alive

    def resize(self, size: int) -> None:
        self.sizes.append(size)
        self.leading.alive = set(range(size))
        for worker in range(size):
            self.reloader.worker_starts(worker)

    async def until_ready(self, longest_s: float) -> list[int]:
        return []

    async def note_move(self) -> None:
        self.moves += 1

    def tell_all(self, message: ToWorker) -> None:
        raise AssertionError

    def tell_each(self, message: Callable[[int], ToWorker]) -> None:
        for worker in self.alive():
            told = message(worker)
            assert isinstance(told, Reload)
            self.told += [told] if worker == 0 else []
            self.reloader.heard(worker, Reloaded(told.generation))

    def write(self, *servers: str, **settings: Any) -> None:
        main = {"name": "main", "servers": servers, "backups": ["10.0.0.3:3", "10.0.0.4:4"]}
        self.config = Config.model_validate({"workers": 2, "pools": [main], **settings})


def run(test: Callable[[Case], Coroutine[Any, Any, None]], rewarm: str = "done", **pool: Any) -> None:
    async def whole(leading: Leading) -> None:
        case = Case(leading)
        try:
            await test(case)
        finally:
            case.listeners.close()

    lead(whole, rewarm, **pool)


def test_workers_are_told_and_numbers_given_again_when_nobody_uses_them():
    async def test(case: Case) -> None:
        case.write("10.0.0.1:1", "10.0.0.9:9")
        made = await case.reloader.reload()
        assert set(made.changes) == {
            'pool "main": servers: 10.0.0.2:2 goes',
            'pool "main": servers: 10.0.0.9:9 comes',
        }
        [told] = case.told
        assert (told.numbers, told.addresses[1]) == ((0, 4, 2, 3), ("10.0.0.9",))
        assert case.leading.segment.servers == 5
        case.leading.segment.count_as_leader(1, "returns", 7)
        case.reloader.heard(0, Gone(1))
        assert case.leading.fleet.leaving == {1}
        case.reloader.worker_ended(1)
        assert case.leading.fleet.leaving == set()
        assert case.leading.segment.server_totals(1)["returns"] == 0
        case.write("10.0.0.1:1", "10.0.0.9:9", "10.0.0.5:5")
        await case.reloader.reload()
        assert case.told[-1].numbers == (0, 4, 1, 2, 3)
        case.leading.leader.look()

    run(test)


def test_what_is_written_and_not_in_force():
    async def test(case: Case) -> None:
        assert await case.reloader.unread() == ()
        case.write("10.0.0.1:1")
        assert await case.reloader.unread() == ('pool "main": servers: 10.0.0.2:2 goes',)
        assert case.told == []
        case.config = ConfigError("a setting of another version")
        assert await case.reloader.unread() == ()

    run(test)


def at(*addresses: str) -> tuple[ListenAddress, ...]:
    return tuple(map(ListenAddress.model_validate, addresses))


def test_workers_are_sent_the_sockets_that_they_have_not(tmp_path: Path):
    async def test(case: Case) -> None:
        path = tmp_path / "s"
        [old] = case.listeners.of_worker(0)
        case.listen = at(old.address, f"unix:{path}")
        assert (await case.reloader.reload()).changes == (f"listen: unix:{path} comes",)
        kept, unix = case.told[-1].listeners
        assert (kept, case.told[-1].fds) == (old, (old.number, unix.number))  # it had heard of none
        assert case.moves == 1
        case.listen = at(f"unix:{path}")
        await case.reloader.reload()
        assert (case.told[-1].listeners, case.told[-1].fds) == ((unix,), ())
        assert case.reloader.worker_starts(1) == ((unix,), (unix.number,))
        assert case.moves == 2
        case.listen = at(old.address)
        await case.reloader.reload()
        assert not path.exists()

    run(test)


def test_more_and_fewer_workers():
    async def test(case: Case) -> None:
        [tcp] = case.listeners.of_worker(0)
        case.write("10.0.0.1:1", "10.0.0.2:2", workers=3)
        case.listeners.pause()
        with pytest.raises(RefusedError, match="handed over"):
            await case.reloader.reload()
        case.listeners.resume()
        assert (await case.reloader.reload()).changes == ("workers: 2 becomes 3",)
        # they are told of it, then come, and have their sockets when they are ready
        assert [told.listeners for told in case.told] == [(tcp,), (tcp,)]
        assert case.sizes == [3]
        assert case.leading.segment.workers == 3
        assert len(case.listeners.of_worker(2)) == 1
        case.write("10.0.0.1:1", "10.0.0.2:2", workers=1)
        await case.reloader.reload()
        assert len(case.told[-1].listeners) == 3
        assert case.sizes == [3, 1]
        case.write("10.0.0.1:1", "10.0.0.2:2", workers=4)
        made = await case.reloader.reload()
        assert (made.changes, made.waiting, case.sizes) == ((), ("workers",), [3, 1])

    run(test)


def test_an_address_that_cannot_be_had_changes_nothing():
    async def test(case: Case) -> None:
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = other.getsockname()[1]
            case.write("10.0.0.1:1")
            case.listen = at(f"127.0.0.1:{port}")
            before = case.listeners.addresses
            with pytest.raises(
                RefusedError, match=f"listen 127.0.0.1:{port}: Address already in use"
            ) as caught:
                await case.reloader.reload()
        assert caught.value.hint
        assert (case.told, case.listeners.addresses, case.moves) == ([], before, 0)
        assert len(case.leading.fleet.members) == 4

    run(test)


def test_nothing_to_change_is_told_to_nobody():
    async def test(case: Case) -> None:
        assert (await case.reloader.reload()).changes == ()
        assert case.told == []

    run(test)


def test_a_log_level_for_some_time():
    async def test(case: Case) -> None:
        def levels() -> list[bool]:
            return [told.config["verbose"] for told in case.told]

        await case.reloader.set_verbose(True, 0.01)
        await until(lambda: levels() == [True, False], "as before")
        # another wish is in place of the first one, and what it was before stays that
        await case.reloader.set_verbose(True, 1000)
        await case.reloader.set_verbose(True, 0.01)
        await until(lambda: levels()[2:] == [True, True, False], "as before")
        # one without an end holds
        await case.reloader.set_verbose(True, 0.01)
        await case.reloader.set_verbose(True)
        await case.reloader.set_verbose(False, 0.01)
        await until(lambda: levels()[5:] == [True, True, False, True], "as before")
        # a reload says it anew
        await case.reloader.set_verbose(False, 1000)
        case.write("10.0.0.1:1", "10.0.0.2:2", verbose=False)
        await case.reloader.reload()
        assert case.reloader._going_back is None
        assert case.leading.fleet.config.verbose is False

    run(test)


def test_the_log_level_alone():
    async def test(case: Case) -> None:
        before = case.leading.fleet.config
        await case.reloader.set_verbose(True)
        [told] = case.told
        assert told.config == {**before.model_dump(mode="json"), "verbose": True}
        assert case.leading.fleet.members.keys() == set(told.numbers)
        await case.reloader.reload()
        assert case.told[-1].config["verbose"] is False

    run(test)


def test_a_mistake_changes_nothing():
    async def test(case: Case) -> None:
        case.config = ConfigError("line 3: no", "look there")
        with pytest.raises(RefusedError, match="line 3: no") as caught:
            await case.reloader.reload()
        assert caught.value.hint == "look there"
        assert case.told == []
        assert "the configuration is not reloaded, nothing changes" in case.leading.log.events

    run(test)


def test_a_worker_that_starts_meanwhile_has_it():
    async def test(case: Case) -> None:
        case.leading.alive = {0}
        case.write("10.0.0.1:1")
        await case.reloader.reload()
        case.leading.alive = {0, 1}
        case.reloader.worker_starts(1)
        assert case.reloader._late() == []
        case.reloader.heard(0, Gone(1))
        assert case.leading.fleet.leaving == set(), "the new one has never used it"

    run(test)


def test_one_at_a_time():
    async def test(case: Case) -> None:
        case.write("10.0.0.1:1")
        first, second = await asyncio.gather(case.reloader.reload(), case.reloader.reload())
        assert (len(first.changes), len(second.changes)) == (1, 0)

    run(test)


def test_warnings_are_logged():
    async def test(case: Case) -> None:
        case.warnings = ("look out",)
        await case.reloader.reload()
        assert "look out" in case.leading.log.events

    run(test)


def test_watched_it_is_put_in_force_by_itself_and_a_mistake_is_told_once():
    async def test(case: Case) -> None:
        watching = asyncio.create_task(case.reloader.watch())
        case.write("10.0.0.1:1", "10.0.0.2:2", watch=True)
        await case.reloader.reload()
        case.write("10.0.0.1:1", watch=True)
        await until(lambda: len(case.told) == 2, "a reload")
        case.config = ConfigError("line 3: no")
        failed = "the configuration is not reloaded, nothing changes"
        await until(lambda: failed in case.leading.log.events, "a complaint")
        case.write("10.0.0.1:1", "10.0.0.9:9")
        await until(lambda: len(case.told) == 3, "another reload, which ends the watch")
        assert case.leading.log.events.count(failed) == 1
        watching.cancel()
        await asyncio.wait([watching])

    run(test)


def test_a_file_that_hangs_holds_up_nobodys_exit():
    hanging: list[threading.Event] = []

    async def test(case: Case) -> None:
        case.hangs.clear()
        reloading = asyncio.create_task(case.reloader.reload())
        await until(case.reading.is_set, "a look")
        reloading.cancel()
        await asyncio.wait([reloading])
        hanging.append(case.hangs)

    # The end of the loop waits for its executor's threads.
    run(test)
    hanging.pop().set()


def test_a_file_that_hangs_is_a_mistake_in_time_and_the_next_reload_is_not_held_up(tmp_path: Path):
    path = tmp_path / "magent.yaml"
    os.mkfifo(path)

    async def test(case: Case) -> None:
        read = case.reloader._read

        def from_pipe() -> Loaded:
            read_text(str(path))
            return read()

        case.reloader._read, case.reloader._reading.longest_s = from_pipe, 0.05
        case.write("10.0.0.1:1")
        for _ in range(2):
            with pytest.raises(RefusedError) as caught:
                await case.reloader.reload()
            assert caught.value.error == f"{path}: the configuration was not read within 0.05 s"
            assert caught.value.hint is not None
            assert "a pipe that nobody writes to" in caught.value.hint
        assert case.told == []
        assert await case.reloader.unread() == ()
        # as a disk does that is there again
        with open(os.open(path, os.O_WRONLY), "w"):
            pass
        await until(lambda: not case.reloader._reading.hangs, "the read has ended")
        case.reloader._read, case.reloader._reading.longest_s = read, 10.0
        made = await case.reloader.reload()
        assert made.changes == ('pool "main": servers: 10.0.0.2:2 goes',)

    run(test)


def test_a_server_that_leaves_while_it_is_filled():
    async def test(case: Case) -> None:
        leading = case.leading
        leading.fail(1)
        leading.all_say(1, CLEAN, emptied=True)
        await until(lambda: leading.segment.server_totals(1)["warm_per_cent"] == 40, "a re-warm")
        case.write("10.0.0.1:1")
        await case.reloader.reload()
        for worker in (0, 1):
            case.reloader.heard(worker, Gone(1))
        assert leading.fleet.leaving == {1}, "somebody still copies to it"
        await until(lambda: "re-warm aborted" in leading.log.events, "stopped in an orderly way")
        [facts] = [facts for event, facts in leading.log.said if event == "re-warm aborted"]
        assert (facts["server"], facts["reason"]) == ("10.0.0.2:2", "it is not configured any more")
        case.write("10.0.0.1:1", "10.0.0.5:5")
        await case.reloader.reload()
        assert leading.fleet.numbers == (0, 1, 2, 3)
        assert leading.leader.server_snapshot(1).warm is None
        assert max(facts["level"] for _, facts in leading.log.said) < ERROR

    run(test, rewarm="wait")


def test_a_source_that_leaves_while_it_is_copied_from():
    async def test(case: Case) -> None:
        leading = case.leading
        leading.fail(1)
        leading.all_say(1, CLEAN, emptied=True)
        await until(lambda: leading.segment.server_totals(1)["warm_per_cent"] == 40, "a re-warm")
        main = leading.fleet.config.pools[0].model_dump(exclude={"backups"})
        case.config = Config.model_validate({"workers": 2, "pools": [{**main, "backups": ["10.0.0.3:3"]}]})
        leading.rewarm = "done"
        await case.reloader.reload()
        for worker in (0, 1):
            case.reloader.heard(worker, Gone(3))
        assert leading.fleet.leaving == {3}, "somebody still looks how it stands"
        await until(lambda: leading.is_open(1), "filled from the other one")
        assert [job.sources for job in leading.jobs] == [(2, 3), (2,)]
        case.reloader.heard(0, Gone(3))
        assert leading.fleet.leaving == set()

    run(test, rewarm="wait")


MOVED = "10.9.9.9:9"


def named(address: str, weight: int = 1) -> Config:
    """Server 0 is somewhere."""
    servers = [{"name": "a", "address": address, "weight": weight}, "10.0.0.2:2"]
    backups = ["10.0.0.3:3", "10.0.0.4:4"]
    return Config.model_validate(
        {"workers": 2, "pools": [{"name": "main", "servers": servers, "backups": backups}]}
    )


def test_a_server_that_is_to_move_stays_if_the_file_says_so_in_time():
    async def test(case: Case) -> None:
        leading = case.leading
        case.config = named(MOVED)
        await case.reloader.reload()
        assert leading.told[-1] == Hold((0,))
        case.config = named("10.0.0.1:1")
        await case.reloader.reload()
        assert leading.told[-1] == Hold(())
        assert leading.leader.moves == {}
        leading.fail(0)
        leading.leader.look()
        assert leading.fleet.members[0].address == "10.0.0.1:1"

    run(test, servers=named("10.0.0.1:1").pools[0].servers)


def test_a_server_that_is_to_move_still_does_after_another_reload():
    async def test(case: Case) -> None:
        leading = case.leading
        for weight in (1, 3):
            case.config = named(MOVED, weight)
            await case.reloader.reload()
            assert leading.leader.lifecycle.held == (0,)
        assert set(leading.told) == {Hold((0,))}, "not let in for a moment"
        leading.fail(0)
        leading.leader.look()
        assert leading.fleet.members[0].address == MOVED
        assert leading.fleet.config.pools == case.config.pools

    run(test, servers=named("10.0.0.1:1").pools[0].servers)


def test_an_operators_replacement_keeps_what_the_file_says_meanwhile():
    async def test(case: Case) -> None:
        leading = case.leading
        leading.leader.move(0, Move(leading.fleet.with_address(0, MOVED), ("10.9.9.9",)))
        case.config = named("10.0.0.1:1", 3)
        await case.reloader.reload()
        leading.fail(0)
        leading.leader.look()
        assert leading.fleet.config.pools == named(MOVED, 3).pools

    run(test, servers=named("10.0.0.1:1").pools[0].servers)


def test_an_operators_replacement_by_what_the_file_has_elsewhere_is_given_up():
    async def test(case: Case) -> None:
        leading = case.leading
        leading.leader.move(0, Move(leading.fleet.with_address(0, MOVED), ("10.9.9.9",)))
        config = named("10.0.0.1:1")
        main = config.pools[0].model_dump()
        main["servers"] = [*config.pools[0].servers, MOVED]
        case.config = Config.model_validate({"workers": 2, "pools": [main]})
        await case.reloader.reload()
        assert leading.told[-1] == Hold(())
        [facts] = [facts for event, facts in leading.log.said if event == "server is not replaced"]
        assert (facts["server"], facts["problem"]) == ("a", f'"{MOVED}" is {MOVED}')
        leading.fail(0)
        leading.leader.look()
        assert leading.fleet.members[0].address == "10.0.0.1:1"

    run(test, servers=named("10.0.0.1:1").pools[0].servers)


def test_keys_that_move_keep_their_former_servers_until_the_migration_ends():
    def config(*servers: str) -> Config:
        main = {"name": "main", "servers": servers, "on_change": "migrate"}
        return Config.model_validate({"workers": 2, "pools": [main]})

    async def test(case: Case) -> None:
        settled: list[int] = []
        case.reloader.on_settled = lambda: settled.append(case.told[-1].generation)
        case.config = config("10.0.0.1:1", "10.0.0.9:9")
        assert len((await case.reloader.reload()).changes) == 2
        assert (case.told[-1].numbers, settled) == ((0, 2, 1), [1])
        assert (await case.reloader.unread(), case.leading.fleet.leaving) == ((), set())
        await case.reloader.enter_phase("main", "copy")
        assert case.told[-1].config["pools"][0]["migration"]["phase"] == "copy"
        assert case.leading.leader.lifecycle.servers[2].sources == (0, 1)
        case.config = config("10.0.0.1:1")
        with pytest.raises(RefusedError, match="keys are still moving") as refused:
            await case.reloader.reload()
        assert refused.value.hint is not None
        assert case.leading.fleet.numbers == (0, 2, 1)
        await case.reloader.end_migration("main")
        assert (case.told[-1].numbers, case.leading.fleet.leaving) == ((0, 2), {1})
        told = len(case.told)
        await case.reloader.end_migration("main")
        assert len(case.told) == told, "there is none any more"

    run(test, backups=[], on_change="migrate")


def test_no_migration_begins_while_an_operator_replaces_a_server():
    async def test(case: Case) -> None:
        leader = case.leading.leader
        leader.move(0, Move(leader.fleet.with_address(0, "10.0.0.7:7"), ("10.0.0.7",)))
        main = {"name": "main", "servers": ["10.0.0.1:1"], "on_change": "migrate"}
        case.config = Config.model_validate({"workers": 2, "pools": [main]})
        with pytest.raises(RefusedError, match="is being replaced"):
            await case.reloader.reload()
        assert case.told == []

    run(test, backups=[], on_change="migrate")
