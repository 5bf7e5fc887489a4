"""The command line from the outside: help, version, mistakes, exit codes, and never a traceback."""

import os
import signal
import subprocess
import sys

import pytest

from memagent import __version__, cli
from memagent.errors import ConfigError, StartError

MAGENT = [sys.executable, "-m", "memagent"]


def magent(*arguments, **options):
    return subprocess.run([*MAGENT, *arguments], capture_output=True, text=True, timeout=60, **options)


@pytest.mark.parametrize("flag", [["-h"], ["--help"], ["-D", "-h"]])
def test_help_shows_both_ways(flag, capsys):
    assert cli.call(flag) == 0
    out, err = capsys.readouterr()
    assert err == ""
    for part in ("magent run -c FILE", "With a configuration file", "magent's own command line", "Examples:"):
        assert part in out
    for command in ("run", "check", "route", "bench", "servers", "rewarm", "verify"):
        assert f"\n  {command} " in out
    for letter in "sbklpfnDugviDc":
        assert f"\n  -{letter}" in out


@pytest.mark.parametrize(
    "command",
    [
        "run",
        "check",
        "route",
        "bench",
        "servers",
        "explain",
        "verify",
        "drain",
        "undrain",
        "replace",
        "rewarm",
    ],
)
def test_every_command_has_help(command, capsys):
    assert cli.call([command, "--help"]) == 0
    assert f"Usage: magent {command}" in capsys.readouterr().out


def test_version(capsys):
    assert cli.call(["--version"]) == 0
    assert capsys.readouterr().out == f"memagent {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "error", "hint"),
    [
        ([], "no memcached server: give at least one with -s", "magent --help"),
        (["chekc"], 'no such command: "chekc" (did you mean "check"?)', "magent --help"),
        (["check"], "no configuration: give a file, or set MEMAGENT_POOLS__MAIN__SERVERS", "magent --help"),
        (["check", "--foo", "x"], "No such option", "magent check --help"),
        (["run"], "no configuration: give a file", "magent --help"),
        (["run", "-c", "no/such.yaml"], "no/such.yaml: no such file or directory", None),
        (["-x"], "No such option", "magent --help"),
        (["-s"], "Option '-s' requires an argument", "magent --help"),
        (["-s", "a", "b"], "unexpected extra argument", "magent --help"),
        (["-s", "10.0.0.7:99999"], '-s: "10.0.0.7:99999": port must be 1-65535', "magent --help"),
        (
            ["-c", "x.yaml"],
            "-c: x.yaml: among magent's flags, -c reads magent's INI file",
            "magent run -c x.yaml",
        ),
        (["-c", "no/such.conf"], "no/such.conf: no such file or directory", None),
    ],
)
def test_a_users_mistake_is_one_line_and_a_hint(arguments, error, hint, capsys):
    assert cli.call(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    first, *rest = err.splitlines()
    assert first.startswith("magent: error: ")
    assert error in first
    if hint is None:
        assert rest == []
    else:
        assert rest[-1].startswith("hint: ")
        assert hint in rest[-1]


def test_every_line_of_an_error_says_that_it_is_one(monkeypatch, capsys):
    def fail(*_):
        raise ConfigError("one\ntwo", "three")

    monkeypatch.setattr("memagent.supervisor.run", fail)
    assert cli.call(["-s", "a"]) == 2
    assert capsys.readouterr().err == "magent: error: one\nmagent: error: two\nhint: three\n"


def test_what_the_machine_refuses_is_exit_code_1(monkeypatch, capsys):
    def fail(*_):
        raise StartError("127.0.0.1:80: permission denied", "a port below 1024 needs root")

    monkeypatch.setattr("memagent.supervisor.run", fail)
    assert cli.call(["-s", "a"]) == 1
    assert "magent: error: 127.0.0.1:80: permission denied\nhint: a port" in capsys.readouterr().err


def test_the_supervisors_exit_code_is_ours(monkeypatch):
    monkeypatch.setattr("memagent.supervisor.run", lambda *_: 3)
    assert cli.call(["-s", "a"]) == 3


def test_interrupted(monkeypatch, capsys):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("memagent.supervisor.run", interrupt)
    assert cli.call(["-s", "a"]) == 130
    assert "Traceback" not in capsys.readouterr().err


def test_no_colour_where_nobody_sees_it(capsys):
    cli.call(["chekc"])
    assert "\x1b" not in capsys.readouterr().err


# ---------------------------------------------------------------- real processes


def test_a_mistake_in_a_real_process():
    done = magent("check", "no/such.yaml")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "magent: error: no/such.yaml: no such file or directory\n"


def test_bytes_that_are_no_text_in_the_arguments():
    done = subprocess.run([*MAGENT, "-s", b"\xff\xfe"], capture_output=True, timeout=60)
    assert done.returncode == 2
    assert b"not a host name" in done.stderr
    assert b"Traceback" not in done.stderr


def test_names_that_the_terminal_cannot_show(tmp_path):
    path = tmp_path / "magent.yaml"
    path.write_text("pools: {жук: {servers: [10.0.0.1]}}", encoding="utf-8")
    done = magent("check", str(path), env={**os.environ, "PYTHONIOENCODING": "latin-1"})
    assert (done.returncode, done.stderr) == (0, "")
    assert r"pool     \u0436\u0443\u043a: " in done.stdout


def test_a_reader_that_has_enough():
    keys = "".join(f"key{n}\n" for n in range(200_000))
    with subprocess.Popen(
        [*MAGENT, "route", "-s", "a", "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        _, err = process.communicate(keys.encode(), timeout=60)
    assert process.returncode == 1
    assert err == b""


def test_a_full_disk():
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*MAGENT, "route", "-s", "a", "k"], stdout=full, stderr=subprocess.PIPE, text=True, timeout=60
        )
    assert done.returncode == 1
    assert "magent: error: " in done.stderr
    assert "No space left" in done.stderr
    assert "Traceback" not in done.stderr


def test_closed_standard_streams():
    script = f"exec {sys.executable} -m memagent route -s a k <&- >&- 2>&-"
    assert subprocess.run(["/bin/sh", "-c", script], timeout=60).returncode == 0


def test_ctrl_c():
    """Interrupted while it waits for keys: quietly, and with the exit code that shells expect."""
    keys, feed = os.pipe()
    process = subprocess.Popen(
        [*MAGENT, "route", "-s", "a", "-", "--json"],
        stdin=keys,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        os.close(keys)
        os.write(feed, b"k\n" * 1000)
        assert process.stdout is not None
        assert process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        assert process.stderr is not None
        assert process.stderr.read().strip() == b""
    finally:
        os.close(feed)
        process.kill()
        process.communicate()
