"""A seed brings the same faults again; what many episodes come to can be read."""

import random
from itertools import islice

import pytest

from tests.chaos import __main__, faults
from tests.chaos.episode import Result
from tests.chaos.holders import Holder
from tests.chaos.models import Violation
from tests.chaos.pools import Node
from tests.chaos.schedule import rounds
from tests.chaos.totals import totals
from tests.chaos.world import Variant
from tests.support.memcached import Memcached


def drawn(seed: int, has_proxy_faults: bool = True, has_flushes: bool = True) -> list[str]:
    nodes = [Node(Holder(name), Memcached(port=1), relay=relay) for name, relay in (("s0", None), ("s1", 0))]
    try:
        rng = random.Random(seed)
        made = islice(rounds(rng, nodes, faults.draw, has_proxy_faults, has_flushes), 50)
        return [f"{each} {each.pause_s} {each.seed} {[blow.seed for blow in each.blows]}" for each in made]
    finally:
        for node in nodes:
            node.memcached.stop()


def test_a_seed_brings_the_same_schedule() -> None:
    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)


def test_every_fault_is_drawn() -> None:
    whole = "".join(line for seed in range(6) for line in drawn(seed))
    for each in (*faults.ANYWHERE, *faults.RELAYED, *faults.PROXY):
        assert f"{each.__name__} after" in whole
    assert "flush_all after" in whole


def test_what_is_left_out_changes_nothing_else() -> None:
    calm = drawn(1, has_proxy_faults=False, has_flushes=False)
    assert not any("worker" in each or "flush" in each for each in calm)
    for with_all, without in zip(drawn(1), calm, strict=True):
        assert with_all.split()[:4] == without.split()[:4]


def test_totals() -> None:
    good = Result(Variant(), faults={"kill": 2}, replies=10, slowest_s=0.1)
    bad = Result(Variant("copies", workers=2), faults={"kill": 1, "cut": 1}, replies=5, slowest_s=0.25)
    bad.violations.append(Violation("lost key", "it is gone", None, "k", 0.0))
    lines = totals([(7, good), (8, bad)]).splitlines()
    assert [cell.strip() for cell in lines[2].split("|")[1:-1]] == [
        *("7", "3 + 2 backups", "mixed", "1", "owner", "10", "2", "100", "0")
    ]
    assert [cell.strip() for cell in lines[4].split("|")[1:-1]] == [
        *("2 episodes", "", "", "", "", "15", "4", "250", "1")
    ]
    assert "| kill  |     3 |" in lines
    assert "| lost key  |     1 |" in lines


def test_a_broken_episode_is_no_success(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object) -> None:
        raise RuntimeError("no memcached")

    monkeypatch.setattr(__main__, "Episode", broken)
    result = __main__.episode(1, Variant(), 1.0)
    assert result.kinds() == {"broken episode": 1}
    assert "no memcached" in result.render()
