"""What `stats` answers."""

import os
from collections.abc import Iterator
from dataclasses import replace

import pytest

from memagent import __version__
from memagent._core.metrics import Block
from memagent.counters import SERVER_COUNTERS, SERVER_INDEX, WORKER_COUNTERS, WORKER_INDEX
from memagent.segment import Segment
from memagent.settings import PoolConfig
from memagent.stats import Facts, facts_now, render, server_facts

POOL = PoolConfig.model_validate(
    {
        "name": "main",
        "servers": ["192.168.11.51:11211", {"address": "192.168.11.52", "name": "b"}, "unix:/run/c"],
        "backups": ["192.168.11.68:11211"],
    }
)
FACTS = Facts(
    77, "1.6.0-memagent-0.1.0", 1_000_012.9, 1_000_000.5, 1.25, 0.5, 4096, 2, server_facts([POOL], range(9))
)


@pytest.fixture
def segment() -> Iterator[Segment]:
    segment = Segment.create(workers=2, servers=4)
    yield segment
    segment.close()


def count(segment: Segment, worker: int, name: str, step: int, server: int | None = None) -> None:
    if server is None:
        offset = segment.worker_offset_slots(worker)
        Block(segment.buffer, offset, len(WORKER_COUNTERS)).add(WORKER_INDEX[name], step)
    else:
        offset = segment.server_offset_slots(worker, server)
        Block(segment.buffer, offset, len(SERVER_COUNTERS)).add(SERVER_INDEX[name], step)


def parsed(reply: bytes) -> dict[str, str]:
    *lines, end, rest = reply.decode().split("\r\n")
    assert (end, rest) == ("END", "")
    stats = {}
    for line in lines:
        word, name, value = line.split(" ")
        assert word == "STAT"
        assert name not in stats
        stats[name] = value
    return stats


def test_stats_are_facts_and_every_counter_over_all_workers(segment: Segment):
    count(segment, 0, "cmd_get", 3)
    count(segment, 1, "cmd_get", 4)
    stats = parsed(render([], segment, FACTS))
    assert stats["cmd_get"] == "7"
    assert {c.name for c in WORKER_COUNTERS} <= stats.keys()
    facts = {name: value for name, value in stats.items() if name not in WORKER_INDEX}
    assert facts == {
        "pid": "77",
        "uptime": "12",
        "time": "1000012",
        "version": "1.6.0-memagent-0.1.0",
        "pointer_size": "64",
        "rusage_user": "1.250000",
        "rusage_system": "0.500000",
        "max_connections": "4096",
        "threads": "2",
    }


def test_a_clock_set_back_gives_no_negative_uptime(segment: Segment):
    assert parsed(render([], segment, replace(FACTS, now_s=5.0)))["uptime"] == "0"


def test_stats_servers_is_a_block_for_each_server(segment: Segment):
    count(segment, 0, "requests", 2, server=1)
    count(segment, 1, "requests", 5, server=3)
    stats = parsed(render([b"servers"], segment, FACTS))
    assert stats["main:b:requests"] == "2"
    assert stats["main:b:address"] == "192.168.11.52:11211"
    assert stats["main:192.168.11.68:11211:backup:requests"] == "5"
    assert stats["main:unix:/run/c:requests"] == "0"
    assert len(stats) == 4 * (len(SERVER_COUNTERS) + 1)


def test_names_with_spaces_do_not_break_the_lines(segment: Segment):
    odd = replace(FACTS, servers=tuple(replace(s, name="my cache", pool="a\tb") for s in FACTS.servers[:1]))
    assert "a_b:my_cache:requests" in parsed(render([b"servers"], segment, odd))


def test_reset_is_seen_by_everybody(segment: Segment):
    count(segment, 0, "get_hits", 3)
    count(segment, 0, "curr_connections", 1)
    count(segment, 1, "replies", 3, server=0)
    assert render([b"reset"], segment, FACTS) == b"RESET\r\n"
    other = Segment.attach(os.dup(segment.fd))
    count(other, 1, "get_hits", 2)
    stats = parsed(render([], other, FACTS))
    assert (stats["get_hits"], stats["curr_connections"]) == ("2", "1")
    assert parsed(render([b"servers"], other, FACTS))["main:192.168.11.51:11211:replies"] == "0"
    other.close()


def test_stats_magent_is_magents_own(segment: Segment):
    count(segment, 0, "connections", 1, server=0)
    count(segment, 1, "connections", 1, server=0)
    assert render([b"magent"], segment, FACTS) == (
        b"memcached agent v%b\r\n"
        b"matrix 1 -> 192.168.11.51:11211, pool size 2\r\n"
        b"matrix 2 -> 192.168.11.52:11211, pool size 0\r\n"
        b"matrix 3 -> unix:/run/c, pool size 0\r\n"
        b"END\r\n" % __version__.encode()
    )


@pytest.mark.parametrize("args", [[b"bogus"], [b"SERVERS"], [b"noreply"], [b"\xff"], [b"x"] * 20])
def test_what_memcached_does_not_know_is_an_error(segment: Segment, args: list[bytes]):
    assert render(args, segment, FACTS) == b"ERROR\r\n"


def test_facts_hold_the_processor_time_of_all_processes_that_live(segment: Segment):
    segment.take_place(1, 2**22 + 1)  # above the largest pid: it has ended
    while True:
        facts = facts_now(segment, "0.1.0", 10, 2, ())
        if facts.user_s + facts.system_s > 0:
            break
    used = os.times()
    assert facts.user_s <= used.user + 0.02
    assert facts.system_s <= used.system + 0.02
    assert facts.pid == os.getpid()
    assert facts.started_s <= facts.now_s
