"""What may be asked."""

import contextlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from memagent.admin.requests import (
    Config,
    Drain,
    Hot,
    Metrics,
    RefusedError,
    Replace,
    Rewarm,
    RewarmControl,
    Slow,
    Snapshot,
    Tap,
    Undrain,
    read_request,
)


@pytest.mark.parametrize(
    ("line", "request_"),
    [
        ('{"verb": "snapshot"}', Snapshot("snapshot")),
        ('{"verb": "config"}', Config("config")),
        ('{"verb": "hot"}', Hot("hot", 20)),
        ('{"verb": "tap", "prefix": "\\ud83d\\ude00"}', Tap(verb="tap", prefix="\U0001f600")),
        ('{"verb": "slow", "count": 5}', Slow("slow", 5)),
        ('{"verb": "tap"}', Tap(verb="tap")),
        (
            '{"verb": "tap", "prefix": "a:", "server": "b", "of_verb": "get", "per_s": 9}',
            Tap(verb="tap", prefix="a:", server="b", of_verb="get", per_s=9),
        ),
        ('{"verb": "metrics"}', Metrics("metrics", "")),
        ('{"verb": "metrics", "accept": "text/plain"}', Metrics("metrics", "text/plain")),
        (
            '{"verb": "drain", "server": "a", "force": true}',
            Drain(server="a", verb="drain", force=True, wait=True),
        ),
        (
            '{"verb": "undrain", "server": "a", "wait": false}',
            Undrain(server="a", verb="undrain", wait=False),
        ),
        (
            '{"verb": "replace", "server": "a", "address": "b:1", "pool": "main", "backup": true}',
            Replace(server="a", verb="replace", address="b:1", pool="main", backup=True),
        ),
        ('{"verb": "rewarm", "server": "a"}', Rewarm(server="a", verb="rewarm")),
        (
            '{"verb": "rewarm_pause", "server": "a"}',
            RewarmControl(server="a", verb="rewarm_pause"),
        ),
    ],
)
def test_requests(line: str, request_: object):
    assert read_request(line.encode()) == request_


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("", "no JSON"),
        ("drain cache-1", "no JSON"),
        ("[]", "verb"),
        ("1", "verb"),
        ("{}", "verb"),
        ('{"verb": "dance"}', 'unknown verb "dance"'),
        ('{"verb": 3}', "unknown verb"),
        ('{"verb": "drain"}', "server: Field required"),
        ('{"verb": "drain", "server": 3}', "server: Input should be a valid string"),
        ('{"verb": "drain", "server": "a", "fast": true}', "fast: Unexpected"),
        ('{"verb": "snapshot", "server": "a"}', "server: Unexpected"),
        ('{"verb": "hot", "count": 0}', "count: Input should be greater"),
        ('{"verb": "tap", "per_s": 1001}', "per_s: Input should be less"),
        ('{"verb": "tap", "prefix": "\\ud800"}', "no JSON"),
        (f'{{"verb": "tap", "prefix": "{"x" * 251}"}}', "prefix: String should have at most 250"),
        ("[" * 100_000, "no JSON"),
    ],
)
def test_what_makes_no_sense_is_said(line: str, says: str):
    with pytest.raises(RefusedError, match=says) as caught:
        read_request(line.encode())
    assert set(caught.value.as_json()) == {"error", "hint"}


def test_a_refusal_says_whether_force_helps():
    refusal = RefusedError("no", "why", can_force=True)
    assert refusal.as_json() == {"error": "no", "hint": "why", "force": True}


@given(st.binary(max_size=200))
@example(b'{"verb": "\xff"}')
def test_any_line_is_a_request_or_refused(line: bytes):
    with contextlib.suppress(RefusedError):
        read_request(line)
