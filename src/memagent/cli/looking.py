"""Which pool `magent explain` and `magent verify` look at, and what is known of its servers."""

from dataclasses import dataclass, field

from memagent.cli.flags import load_any
from memagent.cli.reach import talk
from memagent.cli.running import RunningProxy
from memagent.errors import ControlError
from memagent.settings import Config, PoolConfig


@dataclass(frozen=True)
class Subject:
    """`states` by role and name; empty if no proxy could be asked."""

    pool: PoolConfig
    states: dict[tuple[str, str], str] = field(default_factory=dict)


def find_subject(socket_path: str | None, config_path: str | None) -> Subject:
    """The running proxy's own word; with -c, its file if the proxy does not run."""
    try:
        with RunningProxy.find(socket_path, config_path) as proxy:
            config, servers = proxy.config(), proxy.snapshot().servers()
    except ControlError as error:
        if config_path is None:
            raise
        talk(f"{error.message}: by the configuration file alone, and no server's state is known")
        return Subject(_pool(load_any(config_path)))
    pool = _pool(config)
    states = {
        ("backup" if server.backup else "server", server.name): str(server.state)
        for server in servers
        if server.pool == pool.name
    }
    return Subject(pool, states)


def _pool(config: Config) -> PoolConfig:
    return config.pools[0]
