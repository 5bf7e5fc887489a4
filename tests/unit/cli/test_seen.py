"""One request, for people."""

from dataclasses import replace

import pytest

from memagent.cli.seen import clock, key_of, phases_of, took
from memagent.observed import Phase, Seen

SEEN = Seen(5.0, 1, "get", "k", "aw==", 1, 1, "HIT", "10.0.0.9:5", 120, (Phase("first", "a", 120),))


@pytest.mark.parametrize(
    ("us", "text"),
    [(0, "0 us"), (999, "999 us"), (1000, "1.0 ms"), (250_149, "250.1 ms"), (2_314_000, "2.31 s")],
)
def test_times(us: int, text: str):
    assert took(us) == text


def test_the_clock(monkeypatch: pytest.MonkeyPatch):
    import time

    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    try:
        assert clock(86_400 * 365 + 1.0625) == "00:00:01.062"
        assert clock(86_400 * 365 + 1.0625, with_date=True) == "1971-01-01 00:00:01.062"
    finally:
        monkeypatch.undo()
        time.tzset()


def test_keys():
    assert key_of(SEEN) == "k"
    assert key_of(replace(SEEN, keys=3, found=2)) == "k and 2 more, 2 found"
    assert key_of(replace(SEEN, key="", keys=0)) == "-"
    assert key_of(replace(SEEN, key="\x1b]0;title\x07")) == "\\x1b]0;title\\x07"


def test_phases():
    assert phases_of(SEEN) == "a"
    assert phases_of(replace(SEEN, phases=(Phase("first", None, 5),))) == "-"
    two = (Phase("first", "a", 20), Phase("failover", "b", 100_000))
    assert phases_of(replace(SEEN, phases=two)) == "a 20 us, failover b 100.0 ms"
