"""A running proxy as the supervisor sees it, without one."""

from collections.abc import Mapping
from typing import Any

from memagent.fleet import Fleet
from memagent.settings import Config
from memagent.snapshot import Limits, PoolSnapshot, ServerSnapshot, Snapshot, State


def config_of(**pool: Any) -> Config:
    return Config.model_validate({"workers": 1, "pools": [{"name": "main", **pool}]})


def snapshot_of(
    config: Config, states: Mapping[int, State] | None = None, draining: bool = False
) -> Snapshot:
    """Servers by number in these states, all others up."""
    fleet, states = Fleet(config), states or {}
    pools = tuple(
        PoolSnapshot(
            number,
            pool.name,
            pool.distribution,
            pool.has_copies,
            tuple(
                ServerSnapshot(
                    *(each.number, pool.name, each.server.name, each.address, each.backup),
                    *(each.server.weight, states.get(each.number, "up"), 1.0, "", 0),
                    *(False, False, 0, 0, 0, 1, 0, False, None),
                )
                for each in fleet.of_pool(pool)
            ),
        )
        for number, pool in enumerate(config.pools)
    )
    return Snapshot("1", 1, 2.0, 1.0, (), draining, Limits(1, 2, 3), True, (), pools, ())
