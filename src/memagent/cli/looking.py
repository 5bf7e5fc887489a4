"""What `magent explain` and `magent verify` look at: the configuration in force, how servers stand."""

from dataclasses import dataclass

from memagent.cli.flags import load_any
from memagent.cli.reach import talk
from memagent.cli.running import RunningProxy
from memagent.errors import ControlError
from memagent.settings import Config, PoolConfig
from memagent.snapshot import ServerSnapshot


@dataclass(frozen=True)
class Subject:
    """`servers` as they stand; none if no proxy could be asked."""

    config: Config
    servers: tuple[ServerSnapshot, ...] = ()

    def states(self, pool: PoolConfig) -> dict[tuple[str, str], str]:
        """Of its servers, by role and name."""
        return {
            ("backup" if server.backup else "server", server.name): str(server.state)
            for server in self.servers
            if server.pool == pool.name
        }


def find_subject(socket_path: str | None, config_path: str | None) -> Subject:
    """The running proxy's own word; with -c, its file if the proxy does not run."""
    try:
        with RunningProxy.find(socket_path, config_path) as proxy:
            return Subject(proxy.config(), proxy.snapshot().servers())
    except ControlError as error:
        if config_path is None:
            raise
        talk(f"{error.message}: by the configuration file alone, and no server's state is known")
        return Subject(load_any(config_path))
