"""Re-warms by their processes; what the leader makes of them is in test_leader."""

from memagent.rewarm.job import Pause, Resume
from tests.support.leading import CLEAN, Leading, lead, until


def test_progress_is_counted_and_shown():
    async def test(case: Leading) -> None:
        case.fail(2)
        case.all_say(2, CLEAN, emptied=True)
        await until(lambda: case.segment.server_totals(2)["warm_keys"] == 40, "progress")
        warm = case.leader.server_snapshot(2).warm
        assert warm is not None
        assert (warm.state, warm.sources) == ("running", ("10.0.0.1:1", "10.0.0.2:2"))
        assert (warm.keys_done, warm.keys_total, warm.per_cent, warm.eta_s) == (40, 100, 40.0, 6.0)
        totals = case.segment.server_totals(2)
        assert (totals["warm_bytes"], totals["warm_per_cent"]) == (4000, 40)
        assert case.leader.abort_warm(2)
        await until(lambda: case.is_open(2), "open, as it is")
        warm = case.leader.server_snapshot(2).warm
        assert warm is not None
        assert (warm.state, warm.reason, warm.per_cent) == ("aborted", "told to", 40.0)
        assert case.segment.server_totals(2)["warm_per_cent"] == 0

    lead(test, "wait")


def test_paused_and_resumed():
    async def test(case: Leading) -> None:
        case.fail(0)
        case.all_say(0, CLEAN, emptied=True)
        await until(lambda: case.segment.server_totals(0)["warm_keys"] == 40, "progress")
        for command, paused in ((Pause(), True), (Resume(), False)):
            case.leader.lifecycle.pause(0, paused)
            case.leader.rewarms.tell(0, command)
            warm = case.leader.server_snapshot(0).warm
            assert warm is not None
            assert warm.state == ("paused" if paused else "running")
        case.leader.rewarms.tell(1, Pause())
        assert case.leader.rewarms.snapshot(1) is None

    case = lead(test, "wait")
    assert case.log.said[-1][0] == "re-warm aborted", "ended in an orderly way with the proxy"
    assert case.log.said[-1][1]["reason"] == "the proxy ends"


def test_one_that_cannot_be_started_or_fails_is_given_up():
    for how in ("failed", "not there"):

        async def test(case: Leading, how: str = how) -> None:
            if how == "not there":

                async def start(_: object) -> None:
                    raise OSError(11, "Resource temporarily unavailable")

                case.leader.rewarms._start = start  # type: ignore[assignment]
            case.fail(0)
            case.all_say(0, CLEAN, emptied=True)
            await until(lambda: case.is_open(0), "open")
            assert case.told == [], "nothing was copied, so nothing is flushed"
            warm = case.leader.server_snapshot(0).warm
            assert warm is not None
            assert warm.state == "failed"
            assert warm.reason

        case = lead(test, "failed")
        assert case.log.events.count("re-warm failed") == 3
