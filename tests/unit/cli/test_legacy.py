"""magent's own command line, word for word."""

import pytest

from memagent import cli
from memagent.settings import Config

GUIDE = (
    "-u root -n 51200 -l 192.168.1.2 -p 12000 -s 192.168.1.4:11211 -s 192.168.1.5:11211 -s 192.168.1.6:11211 "
    "-b 192.168.1.7:11211 -b 192.168.1.8:11211"
)


@pytest.fixture
def start(monkeypatch):
    """What the supervisor is asked to run."""
    started: list[Config] = []
    monkeypatch.setattr("memagent.supervisor.run", lambda config, _: started.append(config) or 0)

    def run(line: str) -> Config:
        assert cli.call(line.split()) == 0
        return started.pop()

    return run


def test_the_command_of_the_guide(start):
    config = start(GUIDE)
    assert [str(address) for address in config.listen] == ["192.168.1.2:12000"]
    assert (config.user, config.max_connections, config.daemon) == ("root", 51200, True)
    assert len(config.pools[0].servers) == 3
    assert len(config.pools[0].backups) == 2
    assert (config.pools[0].distribution, config.pools[0].key_hash) == ("modula", "djb")


def test_joined(start):
    joined = GUIDE.replace("-p 12000", "-p12000").replace("-s ", "-s").replace("-n ", "-n")
    assert start(joined) == start(GUIDE)


def test_switches_in_one_word(start):
    config = start("-Dkv -s a -p0 -f /tmp/m.sock -i 30 -g users")
    assert (config.daemon, config.verbose, config.group) == (False, True, "users")
    assert config.pools[0].distribution == "magent-ketama"
    assert [str(address) for address in config.listen] == ["unix:/tmp/m.sock"]


def test_the_last_of_a_repeated_flag_counts(start):
    assert start("-s a -p 1 -p 2").listen[0].port == 2


def test_the_ini_file_and_flags_over_it(start, tmp_path):
    path = tmp_path / "magent.conf"
    path.write_text("[General]\nport=12000\nmasters=10.0.0.1,10.0.0.2\ndaemon_mode=true\n")
    assert start(f"-c {path}").listen[0].port == 12000
    config = start(f"-c {path} -D -p 5")
    assert (config.listen[0].port, config.daemon) == (5, False)


def test_mistakes_in_file_and_flags_at_once(tmp_path, capsys):
    path = tmp_path / "magent.conf"
    path.write_text("[General]\nport=x\nmasters=10.0.0.1\n")
    assert cli.call(["-c", str(path), "-n", "0"]) == 2
    err = capsys.readouterr().err
    assert f'{path}:2: port: "x": port must be 1-65535' in err
    assert '-n: "0": must be a whole number' in err


@pytest.mark.parametrize(
    "command", ["-s a -p0 -f m.sock", "-c magent.conf -f m.sock", "run -c magent.conf", "run -c magent.yaml"]
)
def test_it_is_read_again_from_any_working_directory(command, monkeypatch, tmp_path):
    (tmp_path / "magent.conf").write_text("[General]\nmasters = a\nlogdir = logs\n")
    (tmp_path / "magent.yaml").write_text("include: [pool.yaml]\nworkers: 1\n")
    (tmp_path / "pool.yaml").write_text("pools: {main: {servers: [a]}}\n")
    started = []
    monkeypatch.setattr("memagent.supervisor.run", lambda *given: started.append(given) or 0)
    monkeypatch.chdir(tmp_path)
    assert cli.call(command.split()) == 0
    [(config, read)] = started
    assert read().config == config
    monkeypatch.chdir("/")
    assert read().config == config


def test_a_working_directory_that_is_gone(start, monkeypatch, tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert start("-s a -p 1").listen[0].port == 1


def test_warnings_go_to_standard_error(start, monkeypatch, tmp_path, capsys):
    token = tmp_path / "token"
    token.write_text("secret")
    token.chmod(0o644)
    monkeypatch.setenv("MEMAGENT_ADMIN_OPERATOR_TOKEN_FILE", str(token))
    config = start("-s a")
    assert config.admin_operator_token is not None
    err = capsys.readouterr().err
    assert err.startswith("magent: warning: MEMAGENT_ADMIN_OPERATOR_TOKEN_FILE")
    assert "chmod o-r" in err
