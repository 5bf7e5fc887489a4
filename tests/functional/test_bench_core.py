"""The benchmark of the compiled core runs, and its fakes answer what the core asks."""

import subprocess
import sys

from tests.support.processes import ROOT

COMMAND = [sys.executable, "-m", "bench.core", "--rounds", "1", "--round-ms", "0"]


def bench(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *args], cwd=ROOT, capture_output=True, text=True, check=False)


def test_every_scenario_has_a_figure() -> None:
    done = bench()
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.split("\n\n")[0].splitlines()[1:]]
    assert {"get", "set", "mget-24", "copies-set", "journal-add", "journal-play"} <= {row[0] for row in rows}
    assert all(float(row[1].replace(",", "")) > 0 and float(row[2]) > 0 for row in rows)


def test_scenarios_are_chosen_by_name() -> None:
    done = bench("--only", "get,place")
    assert [line.split()[0] for line in done.stdout.splitlines()[1:3]] == ["get", "place"]
    wrong = bench("--only", "gett")
    assert wrong.returncode == 2
    assert "there is no scenario gett" in wrong.stderr
