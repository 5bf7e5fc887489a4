"""Is there a live copy of every key?"""

from collections.abc import Mapping
from itertools import product
from typing import Any

from memagent.admin.readiness import Readiness
from memagent.snapshot import STATES, State
from tests.support.snapshots import config_of, snapshot_of

SERVERS = ["10.0.0.1:1", "10.0.0.2:2", "10.0.0.3:3"]
BACKUPS = ["10.0.1.1:1", "10.0.1.2:2", "10.0.1.3:3"]


def gaps(out: Mapping[int, State], ready: Readiness | None = None, **pool: Any) -> list[str]:
    config = config_of(**{"servers": SERVERS, **pool})
    return (ready or Readiness()).gaps(config, snapshot_of(config, out))


def test_without_copies_every_server_has_to_be_up():
    assert gaps({}) == []
    assert gaps({1: "down"}) == ["pool main: 10.0.0.2:2 is down"]
    for state in set(STATES) - {"up"}:
        assert len(gaps({0: state})) == 1


def test_a_backup_stands_in_for_any_server():
    for one in range(6):
        assert gaps({one: "down"}, backups=BACKUPS) == []
    assert gaps({0: "down", 1: "down", 2: "down"}, backups=BACKUPS) == []
    assert gaps({3: "down", 4: "drained"}, backups=BACKUPS) == []
    assert gaps({0: "down", 4: "warming"}, backups=BACKUPS) == [
        "pool main: 10.0.0.1:1 is down and so is its copy 10.0.1.2:2 (warming)"
    ]
    assert len(gaps(dict.fromkeys(range(6), "down"), backups=BACKUPS)) == 9


def test_only_pairs_that_share_keys_matter():
    for owner, copy in product(range(3), range(3)):
        found = gaps({owner: "down", 3 + copy: "down"}, backups=BACKUPS, distribution="modula")
        assert bool(found) == (owner == copy), "by modula the lists of one length go in step"


def test_a_second_copy_on_the_same_ring():
    assert gaps({0: "down"}, copies=2) == []
    assert len(gaps({0: "down", 1: "down"}, copies=2)) == 2
    assert len(gaps({0: "down", 2: "down"}, copies=2, distribution="modula")) == 1


def test_pairs_are_found_again_when_the_pool_has_changed():
    ready, two = Readiness(), {0: "down", 4: "down"}
    assert gaps(two, ready, backups=BACKUPS)
    assert gaps(two, ready, backups=BACKUPS, distribution="modula") == []
