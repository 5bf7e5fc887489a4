"""How far, how fast, how long yet."""

from memagent._core.copies import Tally
from memagent.rewarm.progress import Progress
from memagent.rewarm.source import Source
from memagent.settings import PoolConfig
from tests.support.warming import listed

POOL = PoolConfig.model_validate({"name": "main", "servers": ["127.0.0.1:1"], "backups": ["127.0.0.1:2"]})


def source_with(kept: int, copied: int) -> Source:
    tally = Tally()
    tally.listed = tally.kept = kept
    tally.copied, tally.bytes = copied, 10 * copied
    return Source(POOL, POOL.backups[0], ("127.0.0.1",), listed(b""), tally)


def test_the_rate_is_that_of_the_last_seconds() -> None:
    progress = Progress(0.0)
    source = source_with(10_000, 0)
    for second in range(1, 21):
        source.tally.copied += 100 if second <= 10 else 10
        report = progress.report(float(second), "progress", "copying", "", [source], 0)
    assert report.keys_per_s == 10
    assert report.eta_s == (10_000 - 1100) / 10
    assert (report.copied, report.total, report.elapsed_s) == (1100, 10_000, 20.0)
    last = progress.report(20.0, "done", "ended", "", [source], 0)
    assert last.keys_per_s == 55
    assert last.eta_s is None


def test_what_was_there_already_is_no_part_of_the_rate() -> None:
    progress = Progress(0.0)
    source = source_with(10_000, 0)
    source.tally.copied, source.tally.there = 100, 3900
    report = progress.report(1.0, "progress", "copying", "", [source], 0)
    assert (report.keys_per_s, report.eta_s) == (100, 1.5)


def test_nothing_yet_has_no_end_in_sight() -> None:
    report = Progress(5.0).report(5.0, "progress", "connecting", "", [source_with(0, 0)], 0)
    assert (report.eta_s, report.keys_per_s, report.bytes_per_s, report.total) == (None, 0, 0, 0)


def test_sources_add_up_whatever_became_of_their_keys() -> None:
    one, other = source_with(10, 4), source_with(20, 6)
    one.tally.there, one.tally.gone, other.tally.failed = 1, 2, 3
    report = Progress(0.0).report(2.0, "progress", "copying", "why", [one, other], 5)
    assert (report.kept, report.copied, report.there, report.gone, report.failed) == (30, 10, 1, 2, 3)
    assert (report.keys_per_s, report.bytes_per_s, report.eta_s) == (5.0, 50.0, 1.8)
    assert (report.reason, report.unverified) == ("why", 5)


def test_a_listing_under_way_is_projected() -> None:
    source = source_with(50, 50)
    source.tally.listed = 100
    source.facts = type(source.facts)({"curr_items": "1000"})
    assert Progress(0.0).report(1.0, "progress", "copying", "", [source], 0).total == 50
    source._list_at_s = 0.0
    assert Progress(0.0).report(1.0, "progress", "copying", "", [source], 0).total == 500
