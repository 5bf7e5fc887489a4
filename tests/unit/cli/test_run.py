"""`magent run`: the file's settings reach the supervisor."""

import pytest

from memagent import cli


@pytest.fixture
def started(monkeypatch):
    configs: list = []
    monkeypatch.setattr("memagent.supervisor.run", lambda config, _: configs.append(config) or 0)
    return configs


def test_a_yaml_file(started, tmp_path):
    path = tmp_path / "magent.yaml"
    path.write_text("pools: {main: {servers: [a]}}\ndaemon: true\n")
    assert cli.call(["run", "-c", str(path)]) == 0
    assert cli.call(["run", "-c", str(path), "-D", "-v"]) == 0
    assert [(config.daemon, config.verbose) for config in started] == [(True, False), (False, True)]


def test_an_ini_file(started, tmp_path):
    path = tmp_path / "magent.conf"
    path.write_text("[General]\nmasters=a\n")
    assert cli.call(["run", "-c", str(path)]) == 0
    assert cli.call(["run", "-c", str(path), "-D"]) == 0
    assert [config.daemon for config in started] == [True, False]


def test_a_bad_file_starts_nothing(started, tmp_path, capsys):
    path = tmp_path / "magent.yaml"
    path.write_text("pools: {main: {servers: [a, a:0]}}\nwokers: 2\n")
    assert cli.call(["run", "-c", str(path)]) == 2
    assert started == []
    assert capsys.readouterr().err.count("magent: error: ") == 2


def test_the_environment_alone_and_over_a_file(started, tmp_path, monkeypatch):
    path = tmp_path / "magent.yaml"
    path.write_text("pools: {users: {servers: [a]}}\nworkers: 1\n")
    monkeypatch.setenv("MEMAGENT_WORKERS", "5")
    assert cli.call(["run", "-c", str(path)]) == 0
    monkeypatch.setenv("MEMAGENT_POOLS__MAIN__SERVERS", "b:1,c:2")
    monkeypatch.setenv("MEMAGENT_DAEMON", "yes")
    assert cli.call(["run", "-D"]) == 0
    assert [(config.workers, config.pools[0].name, config.daemon) for config in started] == [
        (5, "users", False),
        (5, "main", False),
    ]
