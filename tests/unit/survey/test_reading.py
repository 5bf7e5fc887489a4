"""One server after the other, the good ones and the bad ones."""

from collections.abc import Callable
from typing import Any

from memagent.inspection.places import Places
from memagent.snapshot import State
from memagent.survey.dump import Line
from memagent.survey.job import Progress
from memagent.survey.reading import survey, timeout_of
from memagent.topology import make_placement
from tests.support.memcached import Memcached
from tests.support.ports import free_port
from tests.support.scripted import Scripted
from tests.support.snapshots import config_of


class Count:
    """Counts lines, and writes down what it is told."""

    def __init__(self, n_holders: int, progress: Progress) -> None:
        self.wanted = range(n_holders)
        self.told: list[str] = []
        self.progress = progress
        self.seen: list[Progress] = []

    def take(self, at: int, lines: list[Line]) -> None:
        self.told += [f"{at}: {line[0].decode()}" for line in lines]

    def done(self, at: int) -> None:
        self.told.append(f"{at} done")

    def forget(self, at: int) -> None:
        self.told.append(f"{at} forgotten")

    def result(self) -> dict[str, Any]:
        return {"told": self.told}


def run(
    servers: list[str], backups: list[str], states: tuple[State, ...] | None = None
) -> tuple[dict[str, Any], Progress]:
    pool = config_of(servers=servers, backups=backups, request_timeout_ms=1000).pools[0]
    places, progress = Places(pool, make_placement(pool)), Progress()
    counting = Count(len(places.holders), progress)
    given = states or ("up",) * len(places.holders)
    return survey(places, given, counting, progress, pause=lambda _: None), progress


def test_the_good_and_the_bad(memcached_factory: Callable[..., Memcached]):
    good, down = (memcached_factory() for _ in range(2))
    good.set(b"a", b"x")
    listed = b"key=b exp=-1 la=1 cas=1 fetch=no cls=1 size=9\nnonsense\n"
    nobody = f"127.0.0.1:{free_port()}"
    with Scripted(lambda line: listed if b"dump" in line else b"END\r\n") as breaks:
        servers = [nobody, str(breaks.address), down.address]
        found, progress = run(servers, [good.address], ("up", "up", "down", "up"))
    assert found["told"] == ["1 forgotten", "3: a", "3 done"]
    assert found["keys_read"] == 1
    assert [(each["server"], each["backup"], each["why"]) for each in found["not_asked"]] == [
        (nobody, False, "cannot connect: Connection refused"),
        (down.address, False, "it is down"),
        (servers[1], False, "lists what is no key: nonsense"),
    ]
    assert (progress.servers_done, progress.servers_total) == (4, 4)
    assert (progress.keys_read, progress.keys_expected) == (1, 1)
    assert (progress.server, progress.backup) == (good.address, True)


def test_the_longer_of_two_timeouts():
    pool = config_of(servers=["10.0.0.1:1"], connect_timeout_ms=300, request_timeout_ms=200).pools[0]
    assert timeout_of(pool) == 0.3
