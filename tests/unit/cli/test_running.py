"""The way to a running proxy: where it is sought, what is said when it is not there, and every bad answer."""

import os
import pwd
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from memagent.cli import running
from memagent.cli.running import RunningProxy
from memagent.errors import ConfigError, ControlError
from tests.support.control_stand_in import SERVER, answers, counts_of, done, progress, snapshot_of

PROXYS = pwd.struct_passwd(("proxys", "x", 1, 1, "", "/", "/bin/sh"))
POOL = {"pools": {"main": {"servers": ["10.0.0.1"]}}}


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    """Stands for /tmp; nothing of this machine is in the way."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr("memagent.admin.place._SERVICE_DIRECTORY", str(tmp_path / "none"))
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "none"))
    monkeypatch.setattr(running, "_uids", lambda user: [os.getuid()])
    own = folder / f"memagent-{os.getuid()}"
    own.mkdir(0o700)
    return own


@pytest.fixture
def config(tmp_path):
    def write(**settings):
        path = tmp_path / "magent.yaml"
        path.write_text(str({**POOL, **settings}))
        return str(path)

    return write


def told_by(find):
    with find as proxy:
        return proxy.snapshot().servers()[0].name


def named(name):
    return answers(snapshot_of(replace(SERVER, name=name)))


def test_by_its_path(stand_in):
    assert told_by(RunningProxy.find(stand_in(named("here")).path, None)) == "here"


def test_counters_come_with_the_state(stand_in):
    snapshot = snapshot_of(SERVER)
    with stand_in(answers(snapshot)) as proxy, RunningProxy.at(proxy.path) as found:
        assert found.counters() == (snapshot, counts_of(snapshot))


def test_by_what_its_file_says(stand_in, config, tmp_path):
    server = stand_in(named("here"))
    assert told_by(RunningProxy.find(None, config(control_socket=server.path))) == "here"


def test_by_what_the_environment_says(stand_in, monkeypatch):
    monkeypatch.setenv("MEMAGENT_CONTROL_SOCKET", stand_in(named("here")).path)
    assert told_by(RunningProxy.find(None, None)) == "here"


def test_by_its_first_address(stand_in, config, temporary):
    stand_in(named("one"), "tmp/" + temporary.name + "/memagent-12000.sock")
    stand_in(named("other"), "tmp/" + temporary.name + "/memagent-11211.sock")
    assert told_by(RunningProxy.find(None, config(listen=["127.0.0.1:12000"]))) == "one"
    assert told_by(RunningProxy.find(None, None)) == "other"


def test_the_only_one_is_found_on_any_port(stand_in, temporary):
    stand_in(named("it"), "tmp/" + temporary.name + "/memagent-12345.sock")
    Path(temporary, "memagent-1.sock").touch()  # what a killed one left
    assert told_by(RunningProxy.find(None, None)) == "it"


def test_one_of_several_has_to_be_chosen(stand_in, temporary):
    for port in (12001, 12002):
        stand_in(named("it"), f"tmp/{temporary.name}/memagent-{port}.sock")
    with pytest.raises(ControlError, match=r"2 proxies run here: .*12001.*12002") as raised:
        RunningProxy.find(None, None)
    assert "--socket PATH" in raised.value.hint


@pytest.mark.parametrize("way", ["path", "file", "default", "left behind"])
def test_nobody_there(way, config, temporary, tmp_path):
    given = {
        "path": (str(tmp_path / "no.sock"), None),
        "file": (None, config(listen=["127.0.0.1:12000"])),
        "default": (None, None),
        "left behind": (str(tmp_path / "dead.sock"), None),
    }[way]
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(tmp_path / "dead.sock"))
    dead.close()
    with pytest.raises(ControlError, match="no proxy listens at /") as raised:
        RunningProxy.find(*given)
    assert "is it running?" in raised.value.hint
    assert "--socket PATH" in raised.value.hint
    assert raised.value.exit_code == 1


def test_no_directory_to_look_in(temporary, config):
    temporary.rmdir()
    with pytest.raises(ControlError, match=r"no proxy on 127\.0\.0\.1:12000 was found"):
        RunningProxy.find(None, config(listen=["127.0.0.1:12000"]))


def test_a_bad_file_is_the_users_mistake(tmp_path):
    with pytest.raises(ConfigError, match="no such file"):
        RunningProxy.find(None, str(tmp_path / "none.yaml"))


def test_two_ways_at_once():
    with pytest.raises(ConfigError, match="either --socket or -c"):
        RunningProxy.find("a", "b")


def test_somebody_elses(stand_in, monkeypatch):
    server = stand_in(named("here"))

    def refuse(self, address):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    with pytest.raises(ControlError, match="it is not yours to speak to") as raised:
        RunningProxy.at(server.path)
    assert "run this as" in raised.value.hint


def test_somebody_elses_and_we_have_no_name(stand_in, monkeypatch):
    """As in a container that runs as any user."""
    server = stand_in(named("here"))
    ours = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: 54321)
    monkeypatch.setattr(running.pwd, "getpwuid", lambda uid: {ours: PROXYS}[uid])
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)

    def refuse(self, address):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    with pytest.raises(ControlError) as raised:
        RunningProxy.at(server.path)
    assert raised.value.hint.endswith(
        "run this as proxys, as whom the proxy runs, or as root; you are uid 54321, which has no name"
    )


def test_a_user_of_odd_digits_is_just_not_found(monkeypatch):
    monkeypatch.undo()
    assert running._uids("\u00b2") == list(dict.fromkeys([os.getuid(), 0]))


def test_a_path_that_no_socket_can_have():
    with pytest.raises(ControlError, match=r"no proxy listens at /x+ \(.*too long"):
        RunningProxy.at("/" + "x" * 200)


def test_a_directory_is_no_socket(tmp_path):
    with pytest.raises(ControlError, match=r"no proxy listens at .*"):
        RunningProxy.at(str(tmp_path))


def test_progress_and_then_the_end(stand_in):
    server = stand_in(lambda request: [progress(SERVER), progress(SERVER), done(SERVER, text="do it")])
    with RunningProxy.at(server.path) as proxy:
        *steps, last = proxy.follow("replace", server="a", address="b", pool=None)
        assert steps == [SERVER, SERVER]
        assert proxy.server(last) == SERVER
        assert last["text"] == "do it"
        # and the connection is good for more
        assert proxy.ask("drain", server="a")["ok"]
    assert server.requests == [
        {"verb": "replace", "server": "a", "address": "b"},
        {"verb": "drain", "server": "a"},
    ]


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ({"error": "no such server", "hint": "one of a, b"}, "one of a, b"),
        ({"error": "no such server", "hint": None}, None),
        ({"error": "no such server", "hint": "w", "force": True}, "w; --force does it nevertheless"),
        ({"error": "no such server", "force": True}, "--force does it nevertheless"),
    ],
)
def test_a_refusal(stand_in, line, hint):
    with (
        RunningProxy.at(stand_in(lambda request: [line]).path) as proxy,
        pytest.raises(ControlError, match="no such server") as raised,
    ):
        proxy.ask("drain", server="c")
    assert raised.value.hint == hint


@pytest.mark.parametrize(
    "line",
    [
        b"ERROR\r\n",
        b"[1]\n",
        b'{"ok": true}\n',
        b'{"ok": true, "snapshot": {"pid": 1}}\n',
        b"\xff\xfe\n",
        b"[" * 100_000 + b"\n",
    ],
)
def test_an_answer_that_makes_no_sense(stand_in, line):
    server = stand_in(lambda request: [line])
    with RunningProxy.at(server.path) as proxy, pytest.raises(ControlError, match="in a language") as raised:
        proxy.snapshot()
    assert "of the same version?" in raised.value.hint


def test_a_state_that_this_command_does_not_know(stand_in):
    """A proxy of another version."""
    server = stand_in(answers(snapshot_of(replace(SERVER, state="asleep"))))
    with RunningProxy.at(server.path) as proxy, pytest.raises(ControlError, match="in a language"):
        proxy.snapshot()


def test_a_configuration_that_makes_no_sense(stand_in):
    server = stand_in(lambda request: [{"ok": True, "config": {"pools": 3}}])
    with RunningProxy.at(server.path) as proxy, pytest.raises(ControlError, match="in a language"):
        proxy.config()


def test_what_is_no_text_is_not_asked_for(stand_in):
    server = stand_in(lambda request: [done(SERVER)])
    with RunningProxy.at(server.path) as proxy:
        with pytest.raises(ConfigError, match=r'not UTF-8 text: "\\udce9"'):
            proxy.ask("drain", server="caf\udce9")
        assert proxy.ask("drain", server="café")["ok"]
    assert server.requests == [{"verb": "drain", "server": "café"}]


def test_it_hangs_up(stand_in):
    server = stand_in(lambda request: [progress(SERVER), b""])
    with RunningProxy.at(server.path) as proxy, pytest.raises(ControlError, match="has hung up"):
        proxy.ask("drain", server="a")


def test_it_says_nothing(stand_in, monkeypatch):
    monkeypatch.setattr(running, "_SILENCE_S", 0.2)
    server = stand_in(lambda request: [])
    with (
        RunningProxy.at(server.path) as proxy,
        pytest.raises(ControlError, match="has said nothing for"),
    ):
        proxy.ask("snapshot")
