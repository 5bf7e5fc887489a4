import json

import pytest
from click.testing import CliRunner

from memagent.cli.bench import bench
from tests.unit._bench.scripted import Scripted, miss, scripted

QUICK = ["--no-preload", "--mix", "get=1", "-n", "40", "--warmup", "0", "-c", "2"]


def at(server: Scripted) -> str:
    return f"127.0.0.1:{server.port}"


def test_json() -> None:
    with scripted(miss) as server:
        done = CliRunner().invoke(bench, [at(server), *QUICK, "--json"])
    assert done.exit_code == 0
    data = json.loads(done.stdout)
    assert data["requests"] == 40
    assert data["settings"]["mix"] == {"get": 1.0}


def test_the_table() -> None:
    with scripted(miss) as server:
        done = CliRunner().invoke(bench, [at(server), *QUICK])
    assert done.exit_code == 0
    for word in ("requests/s", "40 in", "p99.9 latency", "0 / 40"):
        assert word in done.stdout


def test_errors_are_shown() -> None:
    with scripted(lambda data: b"SERVER_ERROR [busy]\r\n" * data.count(b"\r\n")) as server:
        done = CliRunner().invoke(bench, [at(server), *QUICK])
    assert "SERVER_ERROR" in done.stdout
    assert "[busy]" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "settings"),
    [
        (["--value-size", "4KiB"], {"value_shape": "fixed", "value_bytes": 4096}),
        (["--value-size", "10-1k"], {"value_shape": "range", "value_bytes": 10, "value_bytes_max": 1024}),
        (
            ["--value-size", "lognormal:100-5000"],
            {"value_shape": "lognormal", "value_bytes": 100, "value_bytes_max": 5000},
        ),
        (["--value-size", "lognormal:100"], {"value_shape": "lognormal", "value_bytes_max": 10_000}),
        (["--timeout", "250ms"], {"timeout_s": 0.25}),
        (["--timeout", "2"], {"timeout_s": 2.0}),
        (["-t", "1.5"], {"duration_s": 1.5}),
        (["--mix", "get=3,gets"], {"mix": {"get": 3.0, "gets": 1.0}}),
    ],
)
def test_arguments(arguments: list[str], settings: dict[str, object]) -> None:
    with scripted(miss) as server:
        base = [at(server), "--no-preload", "-n", "1", "--warmup", "0", "--json", "--mix", "get"]
        done = CliRunner().invoke(bench, [*base, *arguments])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)["settings"]
    assert {name: found[name] for name in settings} == settings


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ([], "Missing argument"),
        (["host:99999"], "port must be 1-65535"),
        (["h:1", "-c", "none"], "whole number"),
        (["h:1", "-c", "0"], "clients: 0 is not between 1"),
        (["h:1", "--mix", "fly=1"], "'fly' is none of"),
        (["h:1", "--mix", "get=1,get=2"], "twice"),
        (["h:1", "--mix", "get=x"], "must be a number"),
        (["h:1", "--value-size", "normal:5"], "LEAST-MOST"),
        (["h:1", "--value-size", "5-"], "size"),
        (["h:1", "-t", "5parsecs"], "unknown unit"),
        (["h:1", "--value-size", "9-8"], "largest value"),
        (["h:1", "--rate", "-1"], "rate"),
    ],
)
def test_mistakes_exit_with_2(arguments: list[str], word: str) -> None:
    done = CliRunner().invoke(bench, arguments)
    assert done.exit_code == 2
    assert word in done.stderr
    assert "Traceback" not in done.stderr


def test_a_target_that_refuses_is_one_line_and_exit_1() -> None:
    with scripted(miss) as server:
        target = at(server)
    done = CliRunner().invoke(bench, [target])
    assert done.exit_code == 1
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "Connection refused" in done.stderr
