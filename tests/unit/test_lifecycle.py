"""A server's life as the leader sees it: each step. That no order of events opens too early is in
tests/property/test_lifecycle.py."""

from dataclasses import replace
from typing import Any

import pytest

from memagent.lifecycle import (
    CLEAN,
    DOWN,
    SETTLE_S,
    Action,
    Changed,
    Count,
    Flush,
    Lifecycle,
    Open,
    Place,
    Readdress,
    Row,
    Server,
    StartWarm,
    StopWarm,
    TellHeld,
)

UP, RETURNING = 0, 2
CALM = Row(0, 0, (Place(True, True, 0, UP, False),) * 2)


def words(outage: int, *phases: int, opened: int = 0, emptied: bool = False, in_flight: int = 0) -> Row:
    """Workers that live, each with a word of this outage."""
    places = tuple(Place(True, True, outage, phase, emptied) for phase in phases)
    return Row(outage, opened, places, in_flight)


def of(*rows: Row) -> dict[int, Row]:
    """By server."""
    return dict(enumerate(rows))


CLEAN_ROW = words(1, CLEAN, CLEAN)
EMPTY_ROW = words(1, CLEAN, CLEAN, emptied=True)
DOWN_ROW = words(1, DOWN, DOWN)
OVER_ROW = words(1, CLEAN, CLEAN, opened=1, emptied=True)


class Case:
    """Server 0, and its source, server 1."""

    def __init__(self, **given: Any) -> None:
        self.lifecycle = Lifecycle({0: Server(**{"sources": (1,), **given}), 1: Server(sources=(0,))}, 0.0)
        self.now_s = 0.0
        self.life = self.lifecycle.lives[0]
        self.counted: dict[str, int] = {}

    def look(self, row: Row, source: Row = CALM, after_s: float = 0.1) -> list[Action]:
        """What is to be done with server 0; counters and changes of state are kept apart."""
        self.now_s += after_s
        found: list[Action] = []
        for action in self.lifecycle.look(self.now_s, {0: row, 1: source}):
            if isinstance(action, TellHeld):
                found.append(action)
            elif action.server == 0 and isinstance(action, Count):
                self.counted[action.name] = self.counted.get(action.name, 0) + action.step
            elif action.server == 0 and not isinstance(action, Changed):
                found.append(action)
        return found

    def warm(self) -> "Case":
        assert self.look(EMPTY_ROW) == [StartWarm(0, 1, (1,))]
        return self


def test_nothing_happens_to_a_server_that_is_up():
    case = Case()
    assert case.look(CALM) == []
    assert case.lifecycle.pause_s() is None


def test_from_down_to_up_with_nothing_lost():
    case = Case()
    steps = [
        (replace(CALM, outage=1), "down"),
        (DOWN_ROW, "down"),
        (words(1, RETURNING, DOWN), "down"),
        (words(1, RETURNING, CLEAN), "returning"),
    ]
    for row, state in steps:
        assert case.look(row) == []
        assert case.life.state == state
        assert case.lifecycle.pause_s() is not None
    assert case.look(CLEAN_ROW) == [Open(0, 1)]
    assert case.life.state == "warming"
    assert case.look(OVER_ROW) == []
    assert case.life.state == "up"
    assert (case.counted["outages"], case.counted["returns"]) == (1, 1)


def test_an_open_that_was_lost_is_said_again():
    case = Case()
    assert [case.look(CLEAN_ROW), case.look(CLEAN_ROW), case.look(CLEAN_ROW, after_s=1.0)] == [
        [Open(0, 1)],
        [],
        [Open(0, 1)],
    ]
    assert case.look(words(2, CLEAN, CLEAN)) == [Open(0, 2)]


@pytest.mark.parametrize(
    ("dead", "opens"),
    [
        (Place(False, True, 1, DOWN, False), False),
        (Place(False, True, 1, RETURNING, False), False),
        (Place(False, True, 1, CLEAN, False), True),
        (Place(False, True, 0, UP, False), True),
        (Place(False, False, 0, UP, False), True),
        (Place(True, False, 0, UP, False), False),
        (Place(True, True, 0, UP, False), False),
        (Place(True, True, 0, CLEAN, False), False),
    ],
)
def test_a_place_without_a_clean_worker(dead: Place, opens: bool):
    """What died with a worker is made good by its successor; one that has joined nothing has lost nothing."""
    row = Row(1, 0, (dead, Place(True, True, 1, CLEAN, False)))
    assert Case().look(row) == ([Open(0, 1)] if opens else [])


def test_an_empty_server_is_filled_before_it_opens():
    case = Case().warm()
    assert case.look(EMPTY_ROW) == []
    case.lifecycle.warm_ended(0, "done", verified=True)
    assert case.look(EMPTY_ROW) == [Open(0, 1)]
    case.look(OVER_ROW)
    assert not case.life.emptied


def test_emptied_is_remembered_from_a_worker_that_died_and_from_an_outage_before():
    for place in (Place(False, True, 1, CLEAN, True), Place(True, True, 1, DOWN, True)):
        case = Case()
        case.look(Row(1, 0, (place, Place(True, True, 1, DOWN, False))))
        assert case.look(words(2, CLEAN, CLEAN)) == [StartWarm(0, 2, (1,))]


@pytest.mark.parametrize("given", [{"rewarm": False}, {"sources": ()}, {"warm_for_at_most_s": 0.0}])
def test_an_empty_server_that_is_not_to_be_filled_opens(given: dict[str, Any]):
    assert Case(**given).look(EMPTY_ROW) == [Open(0, 1)]


def test_only_sources_that_can_be_read_are_asked():
    case = Case()
    case.lifecycle.servers = dict(enumerate([Server(sources=(1, 2, 3)), *[Server()] * 3]))
    case.lifecycle.lives |= {2: replace(case.life), 3: replace(case.life)}
    case.lifecycle.hold(3)
    actions = case.lifecycle.look(1.0, of(EMPTY_ROW, CALM, DOWN_ROW, CALM))
    assert StartWarm(0, 1, (1,)) in actions


def test_a_source_that_may_come_back_with_copies_is_waited_for():
    case = Case()
    assert case.look(EMPTY_ROW, DOWN_ROW) == []
    assert case.look(EMPTY_ROW, OVER_ROW) == [StartWarm(0, 1, (1,))]


def of_three() -> Case:
    """Servers 1 and 2 hold copies of server 0."""
    case = Case()
    case.lifecycle.servers = {0: Server(sources=(1, 2)), 1: Server(), 2: Server()}
    case.lifecycle.lives[2] = replace(case.life)
    return case


def test_a_source_that_returns_meanwhile_is_copied_from_next():
    case = of_three()
    look = case.lifecycle.look
    assert StartWarm(0, 1, (1,)) in look(1.0, of(EMPTY_ROW, CALM, words(1, DOWN, DOWN)))
    look(1.1, of(EMPTY_ROW, CALM, words(1, RETURNING, RETURNING)))
    case.lifecycle.warm_ended(0, "done", verified=True)
    actions = look(1.2, of(EMPTY_ROW, CALM, words(1, CLEAN, CLEAN)))
    assert Open(0, 1) not in actions, "it has copies, and will be readable soon"
    assert StartWarm(0, 1, (2,)) in look(1.3, of(EMPTY_ROW, CALM, words(1, CLEAN, CLEAN, opened=1)))
    case.lifecycle.warm_ended(0, "done", verified=True)
    assert Open(0, 1) in look(1.4, of(EMPTY_ROW, CALM, CALM))


def test_a_source_that_stays_down_is_not_waited_for_where_another_was_copied_from():
    case = of_three()
    rows = of(EMPTY_ROW, CALM, DOWN_ROW)
    assert StartWarm(0, 1, (1,)) in case.lifecycle.look(1.0, rows)
    case.lifecycle.warm_ended(0, "done", verified=True)
    assert Open(0, 1) in case.lifecycle.look(1.1, rows)


def test_a_source_that_came_back_empty_is_not_waited_for():
    case = Case()
    both = (
        case.lifecycle.look(1.0, of(EMPTY_ROW, EMPTY_ROW)),
        case.lifecycle.look(1.1, of(EMPTY_ROW, EMPTY_ROW)),
    )
    assert {action for actions in both for action in actions if isinstance(action, Open)} == {
        Open(0, 1),
        Open(1, 1),
    }


def test_waiting_and_filling_end_in_time():
    case = Case(warm_for_at_most_s=60.0)
    assert case.look(EMPTY_ROW, DOWN_ROW) == []
    assert case.look(EMPTY_ROW, DOWN_ROW, after_s=60) == [Open(0, 1)]
    case = Case(warm_for_at_most_s=60.0).warm()
    assert case.look(EMPTY_ROW, after_s=59) == []
    [action] = case.look(EMPTY_ROW, after_s=1)
    assert isinstance(action, StopWarm)
    assert case.look(EMPTY_ROW) == [], "it opens when the process has verified what it copied"
    case.lifecycle.warm_ended(0, "aborted", verified=True)
    assert case.look(EMPTY_ROW) == [Open(0, 1)]


def test_a_failed_rewarm_is_tried_again_and_not_for_ever():
    case = Case()
    for _ in range(3):
        assert case.look(EMPTY_ROW) == [StartWarm(0, 1, (1,))]
        case.lifecycle.warm_ended(0, "failed", verified=True)
    assert case.look(EMPTY_ROW) == [Open(0, 1)]


def test_the_server_fails_again_while_it_is_filled():
    case = Case().warm()
    [action] = case.look(words(2, DOWN, DOWN))
    assert isinstance(action, StopWarm)
    assert case.look(words(2, CLEAN, CLEAN)) == [], "the old process still ends"
    case.lifecycle.warm_ended(0, "aborted", verified=True)
    assert case.look(words(2, CLEAN, CLEAN)) == [StartWarm(0, 2, (1,))]


def test_an_outage_too_short_to_be_seen_ends_the_rewarm_too():
    case = Case().warm()
    [action] = case.look(words(2, CLEAN, CLEAN))
    assert isinstance(action, StopWarm)


def test_copies_that_nobody_verified_are_flushed_before_it_opens():
    case = Case().warm()
    case.lifecycle.warm_ended(0, "failed", verified=False)
    assert case.look(EMPTY_ROW) == []
    assert case.look(EMPTY_ROW, after_s=SETTLE_S) == [TellHeld()]
    assert case.lifecycle.held == (0,)
    assert case.look(words(2, DOWN, DOWN)) == [Flush(0), TellHeld()]
    assert case.lifecycle.held == ()
    assert case.look(words(2, CLEAN, CLEAN)) == [StartWarm(0, 2, (1,))]


def test_a_process_that_always_dies_is_given_up():
    case, outage, starts = Case(), 1, 0
    for _ in range(50):
        actions = case.look(words(outage, CLEAN, CLEAN, emptied=True), after_s=2.0)
        if any(isinstance(action, Open) for action in actions):
            break
        if any(isinstance(action, StartWarm) for action in actions):
            starts += 1
            case.lifecycle.warm_ended(0, "failed", verified=False)
        if case.life.held:
            outage += 1
            case.look(words(outage, DOWN, DOWN))
    assert (starts, case.life.tainted) == (3, False)


def test_held_by_an_operator_until_let_go():
    case = Case()
    case.lifecycle.hold(0)
    assert case.look(CALM) == []
    assert case.life.state == "draining"
    case.look(words(1, DOWN, CLEAN))
    assert case.life.state == "draining"
    case.look(words(1, DOWN, DOWN, in_flight=3))
    assert case.life.state == "draining"
    case.look(DOWN_ROW)
    assert case.life.state == "drained"
    assert case.lifecycle.pause_s() is None
    assert case.look(CLEAN_ROW) == [], "never open while held"
    case.lifecycle.release(0)
    assert case.look(CLEAN_ROW) == [Open(0, 1)]
    assert case.counted["held_ms"] > 0


def test_replaced_by_another_machine():
    for keep_data in (False, True):
        case = Case()
        case.lifecycle.hold(0, "replace", keep_data)
        assert case.look(CALM) == []
        flush = [] if keep_data else [Flush(0)]
        assert case.look(DOWN_ROW) == [Readdress(0), *flush, TellHeld()]
        assert case.look(CLEAN_ROW) == [StartWarm(0, 1, (1,))], "whatever the workers make of its identity"


def test_a_rewarm_that_was_asked_for():
    case = Case(rewarm=False)
    case.lifecycle.ask_rewarm(0)
    assert case.lifecycle.held == (0,)
    assert case.look(DOWN_ROW) == [TellHeld()]
    assert case.look(CLEAN_ROW) == [StartWarm(0, 1, (1,))]
    case.lifecycle.warm_ended(0, "done", verified=True)
    assert case.look(CLEAN_ROW) == [Open(0, 1)]
    case.look(OVER_ROW)
    assert not case.life.asked


def test_pausing_and_aborting():
    case = Case()
    assert not case.lifecycle.pause(0, True)
    assert case.lifecycle.abort(0) == []
    case.warm()
    assert case.lifecycle.pause(0, True)
    assert case.life.warm == "paused"
    assert case.lifecycle.pause(0, False)
    assert case.lifecycle.abort(0) == [StopWarm(0, "told to")]
    assert case.lifecycle.abort(0) == []
    assert case.look(EMPTY_ROW) == []
    case.lifecycle.warm_ended(0, "aborted", verified=True)
    assert case.look(EMPTY_ROW) == [Open(0, 1)]


def test_time_is_counted_by_state():
    case = Case()
    case.look(CALM, after_s=2.0)
    case.look(DOWN_ROW, after_s=1.0)
    case.look(DOWN_ROW, after_s=1.0)
    assert case.counted["up_ms"] == pytest.approx(3000, abs=2)
    assert case.counted["down_ms"] == pytest.approx(1000, abs=2)


def test_looks_are_rare_where_nothing_will_happen_soon():
    case = Case()
    case.look(DOWN_ROW)
    soon = case.lifecycle.pause_s()
    case.look(DOWN_ROW, after_s=60)
    late = case.lifecycle.pause_s()
    assert soon is not None
    assert late is not None
    assert soon < late


def test_servers_come_and_go():
    case = of_three()
    case.lifecycle.hold(2)
    assert case.lifecycle.settle({0: Server(sources=(3,)), 3: Server()}, 1.0) == []
    assert set(case.lifecycle.lives) == {0, 3}
    assert case.lifecycle.held == ()
    case.lifecycle.look(1.1, {0: CALM, 3: CALM})


def test_a_rewarm_begins_anew_when_the_configuration_changes():
    case = Case().warm()
    [action] = case.lifecycle.settle(case.lifecycle.servers, 1.0)
    assert isinstance(action, StopWarm)
    case.lifecycle.warm_ended(0, "aborted", verified=True)
    assert case.look(EMPTY_ROW) == [StartWarm(0, 1, (1,))]


def test_the_rewarm_of_a_server_that_goes_is_stopped_and_its_end_means_nothing():
    case = Case().warm()
    [action] = case.lifecycle.settle({1: Server()}, 1.0)
    assert isinstance(action, StopWarm)
    case.lifecycle.warm_ended(0, "aborted", verified=True)
    assert set(case.lifecycle.lives) == {1}
