"""Lines between the supervisor and a survey."""

import json

import pytest

from memagent.survey import job
from memagent.survey.job import Job, Progress
from tests.support.snapshots import config_of

POOL = config_of(servers=["127.0.0.1:1", "unix:/run/a"], backups=["127.0.0.1:2"]).pools[0]
JOB = Job("browse", POOL, ("up", "down", "up"), "dXNlcjo=", "*é?", 2, "a2V5")


def test_a_job_goes_over_a_line_unchanged():
    line = job.write_job(JOB)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert job.read_job(line) == JOB


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"states": ["up"]}, "1 states for 3 servers"),
        ({"states": ["up", "up", "ill"]}, "states"),
        ({"only": 3}, "server 3 of 3"),
        ({"only": -1}, "server -1 of 3"),
        ({"what": "all"}, "what"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_a_job_that_makes_no_sense_says_why(change: dict[str, object], problem: str):
    values = json.loads(job.write_job(JOB))
    with pytest.raises(ValueError, match=problem):
        job.read_job(json.dumps(values | change).encode())


def test_only_progress_is_not_the_last_line():
    progress = job.write_progress(Progress("a", keys_read=3))
    assert json.loads(progress)["progress"]["keys_read"] == 3
    assert not job.is_last(progress)
    for last in (job.line({"result": {}}), job.write_error("no", "hint"), b"Traceback\n"):
        assert job.is_last(last)
    assert json.loads(job.write_error("no")) == {"error": "no", "hint": None}


def test_a_key_is_shown_twice():
    assert job.shown(b"a\xff\n") == {"key": "a\\xff\n", "key_base64": "Yf8K"}
    assert job.shown(b"a:", "prefix") == {"prefix": "a:", "prefix_base64": "YTo="}
