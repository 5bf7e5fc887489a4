"""What `explain` and `verify` look at: what the running proxy says, else the file."""

from dataclasses import replace

import pytest

from memagent.cli.looking import find_subject
from memagent.errors import ConfigError, ControlError
from memagent.settings import PoolConfig
from tests.support.control_stand_in import SERVER, answers, snapshot_of

POOL = PoolConfig(name="main", servers=({"address": "10.0.0.9", "name": "a"},), backups=("10.0.0.8",))


def test_the_running_proxy_knows_best(stand_in, tmp_path):
    """A server that was replaced is at its new address, and states are known."""
    backup = replace(SERVER, name="10.0.0.8:11211", backup=True, state="down")
    proxy = stand_in(answers(snapshot_of(SERVER, backup, replace(SERVER, pool="other", state="down")), POOL))
    path = tmp_path / "magent.yaml"
    path.write_text(f"control_socket: {proxy.path}\npools: {{main: {{servers: [10.0.0.1]}}}}")
    found = find_subject(None, str(path))
    assert found.config.pools == (POOL,)
    assert found.states(POOL) == {("server", "a"): "up", ("backup", "10.0.0.8:11211"): "down"}


def test_the_file_alone(tmp_path, capsys):
    path = tmp_path / "magent.yaml"
    path.write_text(f"control_socket: {tmp_path}/no.sock\npools: {{main: {{servers: [10.0.0.1]}}}}")
    found = find_subject(None, str(path))
    [pool] = found.config.pools
    assert (pool.servers[0].name, found.states(pool)) == ("10.0.0.1:11211", {})
    err = capsys.readouterr().err
    assert err == (
        f"no proxy listens at {tmp_path}/no.sock: by the configuration file alone, and no server's state is"
        " known\n"
    )


def test_neither(tmp_path):
    with pytest.raises(ControlError, match="no proxy listens at"):
        find_subject(str(tmp_path / "none"), None)
    with pytest.raises(ConfigError, match="no such file"):
        find_subject(None, str(tmp_path / "none.yaml"))
