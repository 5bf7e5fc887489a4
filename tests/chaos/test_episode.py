"""A short run with fixed seeds, and runs that must fail: a checker that finds nothing proves nothing."""

import random
import time

import pytest

from tests.chaos import faults
from tests.chaos.episode import Episode
from tests.chaos.pools import Node
from tests.chaos.world import Variant, World
from tests.support.wait import wait_until


@pytest.mark.timeout(150)
@pytest.mark.parametrize(
    ("seed", "variant"),
    [
        (1, Variant("backups", "mixed", workers=2, request_timeout_ms=300, pool={"probe_max_ms": 300})),
        (2, Variant("copies", "mixed", "backups", request_timeout_ms=300, pool={"probe_max_ms": 300})),
    ],
    ids=["backups", "two pools"],
)
def test_nothing_is_lost_and_nothing_is_old(seed: int, variant: Variant) -> None:
    result = Episode(variant, seed, seconds=5, scale=0.3, pause_s=0.01).run()
    print(result.render())
    assert sum(result.faults.values()) >= 1
    assert result.replies > 500
    assert result.violations == []


def restart(world: World, node: Node, rng: random.Random) -> None:
    world.fault_begins(node, "restarted empty", must_be_noticed=True)
    node.holder.loses_memory(time.monotonic())
    node.memcached.restart()
    node.holder.loses_memory(time.monotonic())
    world.fault_is_over(node, "restarted")


def bring_back_old_values(world: World, node: Node, rng: random.Random) -> None:
    """What a server that missed many writes would say if nobody told it."""
    world.fault_begins(node, "will have old values again")
    keys = [b"hot:%d" % number for number in range(75)]
    before = world.look(node, keys)

    def changed() -> int:
        now = world.look(node, list(before))
        return sum(now.get(key) != value for key, value in before.items())

    wait_until(lambda: changed() > len(before) // 4, what="a good part of the keys written anew")
    with node.memcached.connect() as wire:
        for key, value in before.items():
            flags = int(value.partition(b":")[0])
            wire.ask(b"set %b %d 0 %d\r\n%b\r\n" % (key, flags, len(value), value))
    world.fault_is_over(node, "has old values again")


@pytest.mark.timeout(150)
def test_it_finds_keys_that_are_lost() -> None:
    variant = Variant(request_timeout_ms=300, pool={"fallback": "never", "rewarm": False})
    episode = Episode(
        variant, 3, seconds=20, scale=0.3, pause_s=0.01, draw=lambda node, rng: restart, enough=1
    )
    assert {"lost key", "not refilled"} & set(episode.run().kinds())


@pytest.mark.timeout(150)
def test_it_finds_old_values() -> None:
    variant = Variant(request_timeout_ms=300)
    draw: faults.Fault = bring_back_old_values
    episode = Episode(variant, 4, seconds=20, scale=0.3, pause_s=0.01, draw=lambda node, rng: draw, enough=1)
    result = episode.run()
    assert "old value" in result.kinds()
    assert ">>" in result.render()
    assert "will have old values again" in result.render()
