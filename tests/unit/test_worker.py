"""A real worker process, with the test as its supervisor and as the memcached behind it."""

import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from memagent import __version__, control
from memagent._core.sighting import Sightings
from memagent.control import (
    Accept,
    AcceptNoMore,
    AcceptsNoMore,
    Addresses,
    Adopt,
    Adopted,
    Drain,
    DrainingDone,
    FromWorker,
    Hold,
    Log,
    Ready,
    Reload,
    Reloaded,
    Replace,
    Resolve,
    Start,
    StateChange,
    Stop,
    TapFilter,
    Taps,
    ToWorker,
)
from memagent.segment import Segment
from memagent.settings import Config, ServerConfig
from memagent.worker import _is_ip, _socket_addresses
from tests.support import imported
from tests.support.liar import Liar, Talk
from tests.support.ports import free_port
from tests.support.processes import ROOT, Process
from tests.support.wait import wait_until
from tests.support.wire import Wire

ENV = {"PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
GONE = "the supervisor has gone, going on without it"


class Post:
    """A worker's place: its counters, its listening socket, and the processes that were in it."""

    def __init__(self, log: Path, server: str, pool: dict[str, Any], settings: dict[str, Any]) -> None:
        whole = {"listen": ["127.0.0.1:11211"], "workers": 2, "drain_ms": 5000, **settings}
        whole["pools"] = [{"name": "main", "servers": [server], **pool}]
        self.config = Config.model_validate(whole)
        self.segment = Segment.create(2, 1)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.setblocking(False)
        self.address: tuple[str, int] = self.listener.getsockname()
        self.log = log
        self.heard: list[FromWorker] = []
        self.process: Process | None = None

    def start(
        self,
        *told: ToWorker,
        addresses: tuple[str, ...] = ("127.0.0.1",),
        starts: bool = True,
        accept: bool = True,
        version: str = __version__,
        lacks: str = "",
        env: Mapping[str, str] = ENV,
    ) -> "Post":
        """As the supervisor does; `told` is in the channel before the worker looks."""
        listeners = (control.Listener(7, "127.0.0.1"),)
        config = self.config.model_dump(mode="json", exclude={lacks})
        fds = (self.listener.fileno(),)
        start = Start(config, 0, self.segment.fd, listeners, (0,), (addresses,), (0,), fds, accept, version)
        self.channel, theirs = control.pair()
        for message in (start, *told) if starts else told:
            assert self.channel.send(message)
        command = [sys.executable, "-P", "-m", "memagent.worker", "--control-fd", str(theirs.fileno())]
        self.process = Process(command, self.log, {**ENV, **env}, (theirs.fileno(), self.segment.fd))
        theirs.close()
        return self

    def wait_for(self, *messages: FromWorker) -> None:
        def all_there() -> bool:
            self.listen()
            return all(message in self.heard for message in messages)

        wait_until(all_there, 10, lambda: f"{messages} among {self.heard}, {self.running.describe()}")

    def listen(self) -> list[FromWorker]:
        if not self.channel.closed:
            self.heard += self.channel.receive()
        return self.heard

    @property
    def running(self) -> Process:
        assert self.process is not None
        return self.process

    def ready(self) -> "Post":
        self.wait_for(Ready())
        return self

    def wire(self) -> Wire:
        return Wire(self.address)

    def count(self, name: str) -> int:
        return self.segment.worker_totals()[name]

    def server_count(self, name: str) -> int:
        return self.segment.server_totals(0)[name]

    def abandon(self) -> None:
        """The supervisor dies."""
        self.channel.close()
        wait_until(lambda: GONE in self.running.output(), what=self.running.describe)

    def close(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.channel.close()
        self.listener.close()
        self.segment.close()


class Shelf:
    """A memcached that answers when it is told to."""

    def __init__(self) -> None:
        self.held = False
        self.liar = Liar(self.script)

    def script(self, talk: Talk) -> None:
        while True:
            request = talk.request()
            while self.held:
                talk.sleep(0.005)
            talk.say(b"VALUE %b 0 1\r\n1\r\nEND\r\n" % request.split()[1])


HIT = b"VALUE a 0 1\r\n1\r\nEND\r\n"


@pytest.fixture
def shelf() -> Iterator[Shelf]:
    shelf = Shelf()
    with shelf.liar:
        yield shelf


@pytest.fixture
def make(shelf: Shelf, tmp_path: Path) -> Iterator[Callable[..., Post]]:
    made: list[Post] = []

    def make(server: str = "", pool: dict[str, Any] | None = None, **settings: Any) -> Post:
        made.append(Post(tmp_path / f"log{len(made)}", server or shelf.liar.address, pool or {}, settings))
        return made[-1]

    yield make
    for post in made:
        post.close()


def test_it_says_ready_serves_and_drains_when_told(make: Callable[..., Post], shelf: Shelf) -> None:
    post = make(pool={"request_timeout_ms": 10_000}).start().ready()
    with post.wire() as wire, post.wire() as idle:
        wire.expect(b"get a\r\n", HIT)
        idle.expect(b"mn\r\n", b"MN\r\n")
        shelf.held = True
        wire.send(b"get a\r\n")
        wait_until(lambda: post.count("exchanges") == 1, what="the request to be under way")
        assert post.channel.send(Drain())
        assert idle.read_to_end() == b""
        shelf.held = False
        assert wire.read_to_end() == HIT
    assert post.running.wait() == 0
    assert post.listen() == [Ready(), DrainingDone()]
    assert post.count("curr_connections") == 0


def test_it_loads_what_it_needs_and_no_more(make: Callable[..., Post]) -> None:
    """From its start to its end; so a dead worker is replaced the sooner."""
    post = make().start(Replace(0, "localhost:1", ("127.0.0.1",), True), Drain(), env=imported.ENV)
    assert post.running.wait() == 0
    loaded = imported.modules(post.running.output())
    assert "memagent._net.loop" in loaded
    assert "memagent.settings" not in loaded
    assert not imported.packages(loaded) & {
        "pydantic",
        "yaml",
        "click",
        "rich",
        "asyncio",
        "argparse",
        "logging",
    }


@pytest.mark.parametrize("words", [[], ["--control-fd"], ["--control-fd", "x"], ["--control-fd", "99"]])
def test_started_by_hand_it_says_who_starts_workers(tmp_path: Path, words: list[str]) -> None:
    process = Process([sys.executable, "-m", "memagent.worker", *words], tmp_path / "log", ENV)
    assert process.wait() == 1
    assert process.output().splitlines() == [
        "memagent.worker: no --control-fd that is a socket: the supervisor starts workers"
    ]


def test_what_a_supervisor_of_another_version_does_not_say_has_its_default(make: Callable[..., Post]) -> None:
    post = make().start(version="0.0", lacks="max_connections").ready()
    with post.wire() as wire:
        wire.expect(b"get a\r\n", HIT)
        assert wire.stats()["max_connections"] == str(Config.model_fields["max_connections"].default)


def test_a_drain_told_with_the_start_is_obeyed(make: Callable[..., Post]) -> None:
    """Whoever waits at the door is answered; the worker must not stay for ever."""
    post = make()
    with post.wire() as waiting:
        waiting.send(b"get a\r\n")
        post.start(Drain())
        assert waiting.read_to_end() == HIT
    assert post.running.wait() == 0
    assert post.listen() == [Ready(), DrainingDone()]


def test_one_that_is_to_wait_takes_clients_when_told(make: Callable[..., Post]) -> None:
    post = make()
    with post.wire() as wire:
        wire.send(b"get a\r\n")
        post.start(accept=False).ready()
        turns = post.count("loop_turns")
        assert post.channel.send(Hold(()))
        wait_until(lambda: post.count("loop_turns") > turns, what="a turn")
        assert post.count("total_connections") == 0
        assert post.channel.send(Accept())
        wire.expect(b"", HIT)
        assert post.channel.send(Drain())
        assert wire.read_to_end() == b""
    assert post.running.wait() == 0


def test_one_that_waited_in_vain_ends_and_leaves_who_waits_to_others(make: Callable[..., Post]) -> None:
    post = make().start(accept=False).ready()
    with post.wire() as wire:
        wire.send(b"mn\r\n")
        post.channel.close()
        assert post.running.wait() == 0
        post.start(AcceptNoMore(), Drain(), accept=False)
        assert post.running.wait() == 0
        assert post.count("total_connections") == 0
        post.channel.close()
        post.start().ready()
        wire.expect(b"", b"MN\r\n")
        post.channel.send(Stop())
    assert post.running.wait() == 0


def test_told_to_accept_no_more_it_keeps_its_clients(make: Callable[..., Post]) -> None:
    post = make().start().ready()
    with post.wire() as wire:
        wire.expect(b"mn\r\n", b"MN\r\n")
        assert post.channel.send(AcceptNoMore())
        post.wait_for(AcceptsNoMore())
        wire.expect(b"get a\r\n", HIT)
        with post.wire() as late:
            late.send(b"mn\r\n")
            wire.expect(b"get a\r\n", HIT)
            assert post.count("total_connections") == 1
            assert post.channel.send(Drain())
            assert wire.read_to_end() == b""
            assert post.running.wait() == 0
            # The test holds the socket, as another proxy does: nobody was turned away.
            post.channel.close()
            post.start().ready()
            late.expect(b"", b"MN\r\n")
            post.channel.send(Stop())
    assert post.running.wait() == 0


def test_stop_waits_for_nobody(make: Callable[..., Post], shelf: Shelf) -> None:
    post = make(pool={"request_timeout_ms": 60_000}).start().ready()
    shelf.held = True
    with post.wire() as wire:
        wire.send(b"get a\r\n")
        wait_until(lambda: post.count("exchanges") == 1, what="the request to be under way")
        assert post.channel.send(Stop())
        assert post.running.wait() == 0
        assert wire.closed()
    shelf.held = False


def test_an_orphan_goes_on_says_so_and_drains_at_sigterm(make: Callable[..., Post], shelf: Shelf) -> None:
    post = make(pool={"request_timeout_ms": 10_000}).start().ready()
    with post.wire() as wire:
        wire.expect(b"get a\r\n", HIT)
        post.abandon()
        wire.expect(b"get a\r\n", HIT)
        with post.wire() as another:
            another.expect(b"get a\r\n", HIT)
        for number in (signal.SIGINT, signal.SIGHUP):
            post.running.signal(number)
            wire.expect(b"get a\r\n", HIT)
        shelf.held = True
        wire.send(b"get a\r\n")
        wait_until(lambda: post.count("exchanges") == 1, what="the request to be under way")
        post.running.signal(signal.SIGTERM)
        post.running.signal(signal.SIGTERM)
        post.listener.close()
        wait_until(lambda: _refuses(post.address), what="no more clients")
        shelf.held = False
        assert wire.read_to_end() == HIT
    assert post.running.wait() == 0
    assert post.running.output().count(GONE) == 1


def test_what_is_seen_of_requests_is_in_shared_memory(make: Callable[..., Post], shelf: Shelf) -> None:
    post = make(pool={"request_timeout_ms": 10_000}, slow_ms=1).start().ready()

    def tapped() -> Sightings:
        return post.segment.tapped(0)

    with post.wire() as wire:
        wire.expect(b"get a\r\n", HIT)
        assert tapped().count == 0
        assert post.channel.send(Taps((TapFilter(3, "", 0, "get", 10), TapFilter(4, "b", None, "", 10))))

        def asked() -> bool:
            wire.expect(b"get a\r\n", HIT)
            return tapped().matched(3) > 0

        wait_until(asked, what="the tap")
        shelf.held = True
        slow_before = post.segment.slow_log(0).count
        wire.send(b"get slow\r\n")
        wait_until(lambda: post.count("exchanges") == 1, what="the request to be under way")
        time.sleep(0.002)  # what it is to take
        shelf.held = False
        assert wire.read_until(b"END\r\n") == HIT.replace(b"a", b"slow")
        assert tapped().matched(4) == 0
        assert {each[1:2] + each[5:7] for each in tapped().read()} == {
            (3, b"get", b"a"),
            (3, b"get", b"slow"),
        }
        _, tap, _, took_us, _, verb, key, _, _, result, client, server, _, _ = post.segment.slow_log(0).read(
            slow_before
        )[0]
        assert (tap, verb, key, result, server) == (0, b"get", b"slow", b"HIT", shelf.liar.address.encode())
        assert took_us >= 1000
        assert client == b"127.0.0.1:%d" % wire.own_port
        hot = post.segment.hot_keys(0).read(time.monotonic_ns() // 1000)
        assert hot is not None
        assert {key for key, *_ in hot[0]} == {b"a", b"slow"}
        # who goes takes its taps along
        post.abandon()
        matched = tapped().matched(3)
        wire.expect(b"get a\r\n", HIT)
        assert tapped().matched(3) == matched


def test_what_is_off_is_not_collected(make: Callable[..., Post]) -> None:
    post = make(hot_keys=False, slow_ms=0).start().ready()
    with post.wire() as wire:
        wire.expect(b"get a\r\n", HIT)
    assert post.segment.hot_keys(0).read(time.monotonic_ns() // 1000) is None
    assert post.segment.slow_log(0).count == 0


def test_an_orphan_logs_by_itself_what_its_servers_do(make: Callable[..., Post], shelf: Shelf) -> None:
    post = make(pool={"probe_max_ms": 200}).start().ready()
    post.abandon()
    for script, event in (
        (lambda _: None, "is down: it closed the connection"),
        (Talk.honest, "is up: a probe was answered"),
    ):
        shelf.liar.use(script)
        wait_until(lambda event=event: event in post.running.output(), what=post.running.describe)  # type: ignore[misc]


def test_a_supervisor_that_dies_before_the_start_leaves_nobody_behind(make: Callable[..., Post]) -> None:
    post = make().start(starts=False)
    post.channel.close()
    assert post.running.wait() == 1


def test_it_listens_where_it_is_told_and_nowhere_else(make: Callable[..., Post], tmp_path: Path) -> None:
    post = make().start().ready()
    config = post.config.model_dump(mode="json")

    def reload(generation: int, listeners: tuple[control.Listener, ...], *fds: int) -> None:
        addresses = (("127.0.0.1",),)
        assert post.channel.send(Reload(generation, config, listeners, (0,), addresses, (0,), fds))
        post.wait_for(Reloaded(generation))

    first, second = control.Listener(7, "127.0.0.1"), control.Listener(8, "unix")
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(path)
        unix.listen()
        unix.setblocking(False)
        with post.wire() as stays:
            stays.expect(b"get a\r\n", HIT)
            reload(1, (first, second), unix.fileno())
            for address in (post.address, path):
                with Wire(address) as wire:
                    wire.expect(b"get a\r\n", HIT)
            with socket.create_connection(post.address, 5):
                reload(2, (second,))
                wait_until(lambda: post.count("total_connections") == 4, what="who waited")
            stays.expect(b"get a\r\n", HIT)
            with socket.create_connection(post.address, 5), Wire(path) as wire:
                wire.expect(b"get a\r\n", HIT)
                assert post.count("total_connections") == 5  # nobody takes the other one
            # another pool gets it, and this is not configured: every key is refused
            reload(3, (first, control.Listener(8, "unix", "other")), post.listener.fileno())
            with Wire(path) as wire, post.wire() as back:
                back.expect(b"get a\r\n", HIT)
                assert wire.ask(b"get a\r\n") == b"CLIENT_ERROR no route for this key\r\n"


def test_nonsense_is_counted_logged_and_survived(make: Callable[..., Post]) -> None:
    post = make().start().ready()
    with socket.socket(fileno=os.dup(post.channel.fileno())) as raw:
        for packet in (
            b"nonsense",
            b'{"type": "drain", "now": true}',
            b'{"type": "addresses", "server": "0"}',
        ):
            raw.send(packet)
    wait_until(lambda: post.count("control_bad_packets") == 3, what="three bad packets")
    said = [message for message in post.listen() if isinstance(message, Log)]
    assert {message.level for message in said} == {"warning"}
    assert all("makes no sense" in message.text for message in said)
    assert post.channel.send(Start(post.config.model_dump(mode="json"), 0, 0, (), (0,), ((),), (0,), ()))
    post.wait_for(Log("error", "told to start twice"))
    with post.wire() as wire:
        wire.expect(b"get a\r\n", HIT)


def test_a_name_is_asked_for_and_its_addresses_are_used(make: Callable[..., Post], shelf: Shelf) -> None:
    port = shelf.liar.address.rpartition(":")[2]
    post = make(f"cache.invalid:{port}", pool={"probe_max_ms": 200}).start(addresses=())
    post.wait_for(Ready(), Resolve(0), StateChange(0, "down", "cannot connect: its name has no address"))
    assert post.channel.send(Addresses(0, ("127.0.0.1",)))
    post.wait_for(StateChange(0, "up", "a probe was answered"))
    with post.wire() as wire:
        wire.expect(b"get a\r\n", HIT)


def test_an_ip_address_is_not_asked_for(make: Callable[..., Post]) -> None:
    post = make(f"127.0.0.1:{free_port()}").start()
    post.wait_for(Ready(), StateChange(0, "down", "cannot connect: Connection refused"))
    wait_until(lambda: post.server_count("probe_failures") >= 2, what="two probes")
    assert Resolve(0) not in post.listen()


def test_an_idle_worker_sleeps(make: Callable[..., Post]) -> None:
    post = make().start().ready()
    with post.wire() as wire:
        wire.expect(b"get a\r\n", HIT)

        def is_asleep() -> bool:
            turns = post.count("loop_turns")
            time.sleep(0.3)  # this is what is measured
            return post.count("loop_turns") == turns

        wait_until(is_asleep, 10, "0.3 s without a turn")
        wire.expect(b"get a\r\n", HIT)


def test_the_next_in_its_place_goes_on_counting_and_takes_who_waits(make: Callable[..., Post]) -> None:
    post = make().start().ready()
    with post.wire() as wire:
        wire.expect(b"get a\r\n", HIT)
        post.running.kill()
        assert wire.closed()
    post.channel.close()
    post.heard.clear()
    post.segment.take_place(0, 0)
    with post.wire() as waiting:
        waiting.send(b"get a\r\n")
        post.start().ready()
        waiting.expect(b"", HIT)
        assert post.count("get_hits") == 2
        assert post.count("curr_connections") == 1


@pytest.mark.parametrize("place", [0, 1])
def test_what_a_dead_worker_had_under_way_is_over(make: Callable[..., Post], place: int) -> None:
    """Its predecessor's without being told, another one's when told."""
    post = make()
    dead = post.segment.marks(place)
    dead.begin_key(b"k")
    dead.note_key(b"k", 0)
    del dead
    post.start()
    if place:
        assert post.channel.send(Adopt(place))
        post.wait_for(Adopted(place))
    text = f"worker {place} died, writes under way are looked into: 1"
    post.ready().wait_for(Log("info", text))
    assert post.segment.marks().read_key(b"k") == (1, 1)


def test_stats_are_of_all_workers(make: Callable[..., Post]) -> None:
    post = make(max_connections=7).start().ready()
    post.segment.count_restart(1)
    with post.wire() as wire:
        wire.expect(b"get a\r\n", HIT)
        general, servers = wire.stats(), wire.stats("servers")
    assert (general["restarts"], general["get_hits"], general["threads"]) == ("1", "1", "2")
    assert general["max_connections"] == "7"
    assert servers[f"main:{post.config.pools[0].servers[0].address}:replies"] == "1"


def _refuses(address: tuple[str, int]) -> bool:
    with socket.socket() as trial:
        return trial.connect_ex(address) != 0


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "fe80::1%eth0"])
def test_addresses_need_no_lookup(host: str) -> None:
    assert _is_ip(host)


@pytest.mark.parametrize("host", ["cache", "cache.example.org", "10.0.0", "1e100.net"])
def test_names_do(host: str) -> None:
    assert not _is_ip(host)


def test_addresses_as_sockets_take_them() -> None:
    unix = ServerConfig.model_validate("unix:/run/cache")
    named = ServerConfig.model_validate("cache:11300")
    assert _socket_addresses(unix, ()) == [(socket.AF_UNIX, "/run/cache")]
    assert _socket_addresses(named, ()) == []
    assert _socket_addresses(named, ("10.0.0.1", "2001:db8::1")) == [
        (socket.AF_INET, ("10.0.0.1", 11300)),
        (socket.AF_INET6, ("2001:db8::1", 11300)),
    ]
