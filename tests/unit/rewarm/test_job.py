"""Lines between the supervisor and a re-warm."""

import json
from dataclasses import replace

import pytest

from memagent.rewarm import job
from memagent.rewarm.job import Abort, Job, Pause, Rates, Report, Resume
from memagent.settings import PoolConfig

POOL = PoolConfig.model_validate(
    {"name": "main", "servers": ["127.0.0.1:1", "127.0.0.1:2"], "backups": ["unix:/run/b"]}
)
ADDRESSES = (("127.0.0.1",), ("127.0.0.1", "127.0.0.2"), ())


def test_a_job_goes_over_a_line_unchanged() -> None:
    sent = Job(POOL, 1, (0, 2), ADDRESSES, 20_000, 0, 7, 4096)
    line = job.write(sent)
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    got = job.read_job(line)
    assert replace(got, pool=POOL) == sent
    assert [each.name for each in (*got.pool.servers, *got.pool.backups)] == [
        each.name for each in (*POOL.servers, *POOL.backups)
    ]
    assert job.write(got) == line


@pytest.mark.parametrize("command", [Pause(), Resume(), Abort(), Rates(1_000, 0)])
def test_a_command_goes_over_a_line_unchanged(command: job.Command) -> None:
    assert job.read_command(job.write(command)) == command


def test_a_report_goes_over_a_line_unchanged() -> None:
    report = Report("progress", "copying", source="a, b", kept=10, copied=3, eta_s=1.5)
    assert job.read_report(job.write(report)) == report


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"target": 3}, "server 3 of 3"),
        ({"sources": [1, -1]}, "server -1 of 3"),
        ({"sources": [1]}, "its own source"),
        ({"cleans": True}, "only a server itself"),
        ({"addresses": []}, "0 addresses for 3 servers"),
        ({"surprise": 1}, "surprise"),
        ({"pool": {}}, "pool: this is none"),
        ({"pool": 5}, "pool: this is none"),
        ({"pool": None, "version": "0.0"}, "PoolConfig"),
    ],
)
def test_a_job_that_makes_no_sense_says_why(change: dict[str, object], problem: str) -> None:
    values = json.loads(job.write(Job(POOL, 1, (0, 2), ADDRESSES)))
    with pytest.raises(ValueError, match=problem):
        job.read_job(json.dumps(values | change))


@pytest.mark.parametrize("line", [b"", b"{", b"[]", b'{"type": "job"}', b'{"type": "rates"}', b"\xff"])
def test_a_command_that_makes_no_sense_is_a_value_error(line: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the text is pydantic's
        job.read_command(line)
