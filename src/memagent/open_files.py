"""How many files may be open at once, and so how many clients there can be.

    max_connections ─▶ needed ─▶ raise this process's limit, which workers inherit ─▶ room for so many clients

Counted as if all clients were one worker's: the kernel spreads them as it likes.
"""

import contextlib
import resource
from typing import Final

from memagent.errors import StartError
from memagent.settings import Config

_SPARE: Final = 64
_FEWEST_CLIENTS: Final = 64


def fit(config: Config) -> Config:
    """With as many clients as this machine lets us have; StartError if those are hardly any."""
    wanted = needed(config)
    limit = _allow(wanted)
    clients = config.max_connections - (wanted - limit)
    if clients >= config.max_connections:
        return config
    if clients < _FEWEST_CLIENTS:
        raise StartError(
            f"max_connections {config.max_connections} needs {wanted} open files and the limit is {limit}",
            how_to_raise(config),
        )
    return config.model_copy(update={"max_connections": clients})


def needed(config: Config) -> int:
    to_servers = sum(
        (len(pool.servers) + len(pool.backups)) * pool.connections_per_server for pool in config.pools
    )
    n_listens = sum(map(len, config.listens.values()))
    return config.max_connections + to_servers + config.workers * n_listens + _SPARE


def how_to_raise(config: Config) -> str:
    files = needed(config)
    return f"raise it to {files} (ulimit -n, or LimitNOFILE= in a systemd unit), or lower max_connections"


def _allow(wanted: int) -> int:
    """Raise this process's limit of open files, which workers inherit, towards `wanted`; what it is now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return max(soft, wanted)
    # Only root may go past the hard limit.
    tries = [(wanted, wanted), (hard, hard)]
    if hard == resource.RLIM_INFINITY or hard >= wanted:
        tries = [(wanted, hard)]
    for limits in tries:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            return limits[0]
    return soft
