"""Worker processes: pauses between them, how they ended, where they find the code."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import memagent
from memagent.processes import Backoff, describe_end, send_signal, worker_environment


def test_the_first_death_costs_no_pause_and_more_deaths_cost_more():
    backoff = Backoff(jitter=lambda: 1.0)
    assert [backoff.delay_s(lived_s=0.1) for _ in range(9)] == [0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]


def test_a_worker_that_lived_long_clears_what_was_before():
    backoff = Backoff(jitter=lambda: 1.0)
    assert [backoff.delay_s(lived) for lived in (0, 0, 0, 11, 0, 0, 10)] == [0, 0.1, 0.2, 0, 0.1, 0.2, 0]


def test_jitter_takes_away_at_most_half():
    low, high = Backoff(jitter=lambda: 0.0), Backoff(jitter=lambda: 1.0)
    for _ in range(2000):
        least, most = low.delay_s(0), high.delay_s(0)
        assert least == most / 2 <= 2.5


@pytest.mark.parametrize(
    ("code", "words"),
    [(0, "exit code 0"), (3, "exit code 3"), (-9, "killed by SIGKILL"), (-11, "killed by SIGSEGV")],
)
def test_an_end_in_words(code: int, words: str):
    assert describe_end(code) == words


def test_a_signal_without_a_name():
    assert describe_end(-(signal.SIGRTMIN + 3)) == f"killed by signal {signal.SIGRTMIN + 3}"


def test_a_worker_finds_the_same_code_in_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    home = Path(memagent.__file__).parents[1]
    monkeypatch.chdir(home)
    for given in ("", ".", str(home)):
        monkeypatch.setenv("PYTHONPATH", given)
        environment = worker_environment()
        found = subprocess.run(
            [sys.executable, "-P", "-c", "import memagent; print(memagent.__file__)"],
            env=environment, cwd=tmp_path, capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert found.stdout.strip() == memagent.__file__
    assert os.environ["PYTHONPATH"] == str(home)


def test_who_is_killed_after_the_end_has_ended_as_it_had():
    async def end() -> int:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", "raise SystemExit(3)"), stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        await process.stdout.read()
        with contextlib.suppress(OSError):  # it has been reaped
            # without a turn of the loop, which would hear of the end
            while " Z " not in Path(f"/proc/{process.pid}/stat").read_text():
                pass
        send_signal(process, signal.SIGKILL)
        return await process.wait()

    assert [asyncio.run(end()) for _ in range(3)] == [3, 3, 3]
