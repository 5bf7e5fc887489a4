"""magent's flags and its INI file mean what they meant to magent."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memagent import legacy
from memagent.errors import ConfigError
from memagent.legacy import Flags, Given
from memagent.settings import Config

FLAG = {
    "port": "-p", "host": "-l", "unix_path": "-f", "max_connections": "-n", "max_idle": "-i", "user": "-u",
    "group": "-g", "ketama": "-k", "daemon": "-D", "verbose": "-v", "servers": "-s", "backups": "-b",
}  # fmt: skip

INI = """\
# a comment
; another
[General]
port = 12000
host_ip=192.168.1.2
maxconns = 51200
maxidle = 30
useketama = true
daemon_mode = false
verbose_mode = 1
logdir = /var/log/magent
masters = 192.168.1.4:11211, 192.168.1.5, 192.168.1.6:11212,
backups = 192.168.1.7
"""


def flags(**texts: str | list[str]) -> Flags:
    return Flags(
        **{
            name: tuple(Given(one, FLAG[name]) for one in text)
            if isinstance(text, list)
            else Given(text, FLAG[name])
            for name, text in texts.items()
        }
    )


def mistakes(call, *arguments) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        call(*arguments)
    assert caught.value.exit_code == 2
    assert caught.value.hint
    return caught.value.message.splitlines()


def from_flags(*arguments, **words) -> Config:
    return legacy.from_flags(*arguments, **words).config


def listens(config: Config) -> list[str]:
    return [str(address) for address in config.listen]


def test_defaults():
    config = from_flags(flags(servers=["10.0.0.1"]))
    assert listens(config) == ["0.0.0.0:11211"]
    assert config.max_connections == 4096
    assert config.daemon
    assert not config.verbose
    assert (config.user, config.group, config.log_file) == (None, None, None)
    pool = config.pools[0]
    assert (pool.name, pool.distribution, pool.key_hash) == ("main", "modula", "djb")


def test_the_deployment_of_the_guide():
    config = from_flags(
        flags(
            user="root",
            max_connections="51200",
            host="192.168.1.2",
            port="12000",
            servers=["192.168.1.4:11211", "192.168.1.5:11211", "192.168.1.6:11211"],
            backups=["192.168.1.7:11211", "192.168.1.8:11211"],
        )
    )
    assert listens(config) == ["192.168.1.2:12000"]
    assert (config.user, config.max_connections) == ("root", 51200)
    assert [server.name for server in config.pools[0].servers] == [f"192.168.1.{n}:11211" for n in (4, 5, 6)]
    assert [server.name for server in config.pools[0].backups] == [f"192.168.1.{n}:11211" for n in (7, 8)]
    assert not any(server.named for server in config.pools[0].servers)


def test_k_is_magents_own_ketama():
    pool = from_flags(flags(servers=["a"], ketama="true")).pools[0]
    assert (pool.distribution, pool.key_hash) == ("magent-ketama", "md5")


def test_listening_places(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert listens(from_flags(flags(servers=["a"], unix_path="/m.sock"))) == [
        "0.0.0.0:11211",
        "unix:/m.sock",
    ]
    assert listens(from_flags(flags(servers=["a"], unix_path="m.sock", port="0"))) == [
        f"unix:{tmp_path}/m.sock"
    ]
    assert listens(from_flags(flags(servers=["a"], unix_path="unix:/m", port="0"))) == ["unix:/m"]
    assert listens(from_flags(flags(servers=["a"], host="::1"))) == ["[::1]:11211"]
    assert listens(from_flags(flags(servers=["a"], host="localhost"))) == ["localhost:11211"]


def test_every_mistake_in_one_run():
    lines = mistakes(
        from_flags,
        flags(
            port="70000",
            host="x y",
            max_connections="0",
            max_idle="many",
            user="",
            servers=["10.0.0.1", "10.0.0.1:11211", "nonsense:"],
            backups=["::1"],
        ),
    )
    assert lines == [
        '-l: "x y": "x y" is not a host name',
        '-p: "70000": port must be 1-65535',
        '-n: "0": must be a whole number from 1 to 1000000',
        '-u: "": must be 1-255 characters without a space',
        '-i: "many": must be a whole number, such as 4096',
        '-s: "nonsense:": port must be 1-65535',
        '-b: "::1": an IPv6 address needs brackets: write "[::1]:11211"',
        '-s: "10.0.0.1:11211" is already servers[0]; for more of the keys give it a weight',
    ]


@pytest.mark.parametrize(
    ("given_flags", "says"),
    [
        (flags(), "no memcached server: give at least one with -s"),
        (flags(backups=["a"]), "no memcached server"),
        (flags(servers=["a"], port="0"), "-p: 0 leaves nothing to listen on"),
        (flags(servers=["a"], port=""), '-p: "": port must be'),
        (flags(servers=[""]), '-s: "": empty address'),
        (flags(servers=["a"], unix_path=""), '-f: "unix:": the path'),
        (flags(servers=["a"], unix_path="/" + "x" * 200), "at most 107 bytes"),
        (flags(servers=["a"], group="a b"), "-g: "),
        (flags(servers=["10.0.0.1:11211:2"]), "a weight is not part of an address"),
    ],
)
def test_one_mistake(given_flags, says):
    assert says in mistakes(from_flags, given_flags)[0]


# ---------------------------------------------------------------- the INI file


def test_the_ini_file():
    config = legacy.from_ini(INI, "magent.conf")
    assert listens(config) == ["192.168.1.2:12000"]
    assert (config.max_connections, config.daemon, config.verbose) == (51200, False, True)
    assert config.log_file == "/var/log/magent/magent.log"
    pool = config.pools[0]
    assert pool.distribution == "magent-ketama"
    assert [server.name for server in pool.servers] == [
        "192.168.1.4:11211",
        "192.168.1.5:11211",
        "192.168.1.6:11212",
    ]
    assert [server.name for server in pool.backups] == ["192.168.1.7:11211"]


def test_a_short_ini_file_has_magents_defaults():
    config = legacy.from_ini("[General]\nmasters=a", "magent.conf")
    assert listens(config) == ["0.0.0.0:11211"]
    assert config.daemon
    assert config.pools[0].key_hash == "djb"


def test_flags_win_over_the_ini_file(tmp_path):
    path = tmp_path / "magent.conf"
    path.write_text(INI)
    config = from_flags(flags(port="5", servers=["z"], verbose="true"), str(path))
    assert listens(config) == ["192.168.1.2:5"]
    assert [server.name for server in config.pools[0].servers] == ["z:11211"]
    assert [server.name for server in config.pools[0].backups] == ["192.168.1.7:11211"]
    assert config.daemon is False


def test_every_mistake_of_an_ini_file():
    text = """\
x=1
[General]
port=0
masters = 1.2.3.4, 5.6.7.8:99999 , 1.2.3.4:11211
maxcons=5
junk
useketama=maybe
port=5
[Foo]
a=b
"""
    assert mistakes(legacy.from_ini, text, "m.conf") == [
        'm.conf:1: "x" stands before the section [General]',
        "m.conf:3: port: 0 leaves nothing to listen on: give a port, or a Unix socket with -f",
        'm.conf:4: masters: "5.6.7.8:99999": port must be 1-65535',
        'm.conf:4: masters: "1.2.3.4:11211" is already servers[0]; for more of the keys give it a weight',
        'm.conf:5: unknown key "maxcons" (did you mean "maxconns"?)',
        'm.conf:6: "junk" is neither [section] nor key = value',
        'm.conf:7: useketama: "maybe": must be true or false',
        'm.conf:8: the key "port" is there twice',
        'm.conf:9: unknown section "[Foo]": there is only [General]',
    ]


@pytest.mark.parametrize(
    "text", ["", "# nothing", "[General]", "[General]\nmasters =", "[General]\nmasters = ,"]
)
def test_an_ini_file_without_a_server(text):
    assert any("no memcached server" in line for line in mistakes(legacy.from_ini, text, "m.conf"))


def test_an_ini_file_that_cannot_be_read(tmp_path):
    binary = tmp_path / "m.conf"
    binary.write_bytes(b"[General]\nmasters=\xff")
    for path, says in (
        (tmp_path, "is a directory"),
        (tmp_path / "none", "no such file"),
        (binary, "m.conf:2: not UTF-8"),
    ):
        with pytest.raises(ConfigError, match=says):
            from_flags(Flags(), str(path))


def test_the_environment_stands_between_the_file_and_the_flags(tmp_path):
    path = tmp_path / "magent.conf"
    path.write_text(INI)
    environ = {
        "MEMAGENT_WORKERS": "3",
        "MEMAGENT_MAX_CONNECTIONS": "7",
        "MEMAGENT_LISTEN": "10.0.0.1:1",
        "MEMAGENT_POOLS__MAIN__SERVERS": "x",
        "MEMAGENT_POOLS__MAIN__BACKUPS": "y",
    }
    config = from_flags(flags(servers=["z"]), str(path), environ)
    assert (config.workers, config.max_connections, listens(config)) == (3, 7, ["10.0.0.1:1"])
    assert [server.name for server in config.pools[0].servers] == ["z:11211"]
    assert [server.name for server in config.pools[0].backups] == ["y:11211"]
    assert listens(from_flags(flags(port="5"), str(path), environ)) == ["192.168.1.2:5"]


# ---------------------------------------------------------------- anything at all


def _config_or_error(call, *arguments):
    try:
        outcome = call(*arguments)
    except ConfigError as error:
        outcome = error
    assert isinstance(outcome, Config) or outcome.message


words = st.text(max_size=12) | st.sampled_from(
    ["0", "1", "12000", "a", "10.0.0.1", "[::1]:5", "true", "/s", "unix:/s"]
)


@given(
    st.fixed_dictionaries({}, optional={name: words for name in FLAG if name not in ("servers", "backups")}),
    st.lists(words),
)
@settings(max_examples=200)
def test_random_flags_are_a_config_or_a_config_error(texts, servers):
    _config_or_error(from_flags, flags(servers=servers, **texts))


@given(st.lists(st.sampled_from(INI.splitlines()) | st.text() | st.builds("{}={}".format, words, words)))
@settings(max_examples=200)
def test_a_random_ini_file_is_a_config_or_a_config_error(lines):
    _config_or_error(legacy.from_ini, "\n".join(lines), "m.conf")
