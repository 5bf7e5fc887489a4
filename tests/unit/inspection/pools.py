"""A pool over real servers, as inspectors want it."""

from memagent.inspection.places import Places
from memagent.settings import PoolConfig
from memagent.topology import make_placement


def places(servers, backups=(), **settings):
    pool = PoolConfig.model_validate(
        {
            "name": "main",
            "servers": [{"address": server.address, "name": f"s{n}"} for n, server in enumerate(servers)],
            "backups": [{"address": server.address, "name": f"b{n}"} for n, server in enumerate(backups)],
            **settings,
        }
    )
    return Places(pool, make_placement(pool))


def store(servers, backups, found_at, key, value=b"value", **settings):
    """As the proxy would: on owner and copy."""
    by_name = {f"s{n}": server for n, server in enumerate(servers)}
    by_name |= {f"b{n}": server for n, server in enumerate(backups)}
    for holder in found_at.of(key):
        if holder is not None:
            by_name[holder.name].set(key, value, **settings)
