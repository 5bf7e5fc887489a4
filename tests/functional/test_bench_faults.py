"""The benchmarks of copies, faults and metrics run, and measure what they say; not how fast anything is."""

import re
import subprocess
import sys

from tests.support.processes import ROOT


def bench(part: str, *args: str) -> str:
    command = [sys.executable, "-m", f"bench.{part}", "--rounds", "1", "--no-save", *args]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_copies_are_compared_with_none() -> None:
    given = ("--servers", "own", "--scenarios", "set-50,miss-50", "--only", "memagent,memagent-copies")
    told = bench("copies", *given, "--seconds", "0.1")
    assert len(re.findall(r"^  memagent.* errors 0$", told, re.MULTILINE)) == 4, told
    assert len(re.findall(r"CPU, memagent-copies / memagent: \d", told)) == 2, told


def test_metrics_are_compared_with_none_and_a_scrape_is_weighed() -> None:
    told = bench("metrics", "--scenarios", "get-50", "--seconds", "0.1")
    assert len(re.findall(r"^  memagent.* errors 0$", told, re.MULTILINE)) == 5, told
    assert re.search(r"CPU, memagent / memagent-bare: \d", told), told
    assert re.search(r"a scrape: [\d.]+ ms of the supervisor for \d", told), told


def test_the_journal_of_a_server_that_is_gone_is_weighed() -> None:
    told = bench("faults", "--servers", "own", "--parts", "journal", "--scale", "0.005")
    assert re.search(r"keys in the journal +5,000 ", told), told


def test_nobody_gets_an_error_while_a_server_is_frozen() -> None:
    told = bench("faults", "--servers", "own", "--parts", "frozen", "--scale", "0.1", "--seconds", "1")
    assert re.search(r"errors and misses +0 \(worst\)", told), told
