"""What a worker reads of the configuration is what the supervisor has."""

import json
from typing import Any

import pytest
from pydantic import BaseModel

from memagent import __version__
from memagent.settings import Config, Migration, PoolConfig, ServerConfig
from memagent.told import told, told_at, told_pool

SERVERS = ["10.0.0.1", {"address": "[::1]:5", "name": "b", "weight": 3}, "unix:/run/m"]
MOVING = Migration(
    phase="copy", former=PoolConfig.model_validate({"name": "main", "servers": SERVERS}), n_settled=2
)
POOLS: list[dict[str, Any]] = [
    {"name": "main", "servers": SERVERS, "backups": ["10.0.0.9:1"]},
    {"name": "twice", "servers": SERVERS, "copies": 2, "prefixes": ["t:", "u:"]},
    {"name": "own", "servers": SERVERS, "listen": ["127.0.0.1:5"]},
    {"name": "moving", "servers": SERVERS, "prefixes": ["m:"], "migration": MOVING},
]
DERIVED = ("has_copies", "keeps_missed", "takes")


def same(seen: Any, meant: Any) -> None:
    if isinstance(meant, BaseModel):
        for name in type(meant).model_fields:
            same(getattr(seen, name), getattr(meant, name))
        for name in DERIVED if isinstance(meant, PoolConfig) else ():
            same(getattr(seen, name), getattr(meant, name))
    elif isinstance(meant, tuple):
        assert len(seen) == len(meant)
        for one, other in zip(seen, meant, strict=True):
            same(one, other)
    else:
        assert seen == meant


def test_every_setting_is_as_the_supervisor_has_it() -> None:
    config = Config.model_validate({"pools": POOLS, "log_file": "/var/log/m"})
    for version in (__version__, "0.0"):
        given = json.loads(json.dumps(config.model_dump(mode="json")))
        same(told(given, version), config)
        same(told_pool(given["pools"][3], version), config.pools[3])


@pytest.mark.parametrize("address", ["10.0.0.7:99", "[::2]", "unix:/run/other", "cache-7"])
def test_a_server_at_another_address(address: str) -> None:
    config = Config.model_validate({"pools": POOLS[:1]})
    server = config.pools[0].servers[1]
    meant = ServerConfig(address=address, name="b", weight=3)
    same(told_at(told(config.model_dump(mode="json"), __version__).pools[0].servers[1], address), meant)
    same(told_at(server, address), meant)
    with pytest.raises(ValueError, match="port"):
        told_at(server, "10.0.0.7:x")
