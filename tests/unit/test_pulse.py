"""Which workers hang."""

from memagent.pulse import BEAT_S, Pulse


def beats(
    pulse: Pulse, start_s: float, counts: list[dict[int, int]], every_s: float = BEAT_S
) -> list[list[int]]:
    return [pulse.beat(start_s + every_s * number, count) for number, count in enumerate(counts)]


def test_a_worker_whose_loop_stands_is_found_after_ten_seconds():
    found = beats(Pulse(), 0.0, [{1: n, 2: 7} for n in range(7)])
    assert found == [[]] * 5 + [[2], [2]]


def test_one_turn_is_enough():
    counts = [{1: 5}] * 5 + [{1: 6}] * 5
    assert beats(Pulse(), 0.0, counts) == [[]] * 10


def test_what_passed_while_we_did_not_run_ourselves_does_not_count():
    pulse = Pulse()
    beats(pulse, 0.0, [{1: 5}] * 5)
    assert beats(pulse, 3600.0, [{1: 5}] * 5) == [[]] * 5
    assert beats(Pulse(), 0.0, [{1: 5}] * 20, every_s=3 * BEAT_S) == [[]] * 20


def test_a_new_process_starts_anew():
    pulse = Pulse()
    beats(pulse, 0.0, [{1: 5}] * 5)
    assert beats(pulse, 5 * BEAT_S, [{2: 5}] * 5) == [[]] * 5


def test_somebody_turns_until_all_hang_or_there_is_nobody():
    pulse = Pulse()
    assert pulse.any_turns
    beats(pulse, 0.0, [{1: n, 2: 7} for n in range(7)])
    assert pulse.any_turns
    beats(pulse, 7 * BEAT_S, [{1: 7, 2: 7}] * 6)
    assert not pulse.any_turns
    pulse.beat(13 * BEAT_S, {3: 1})
    assert pulse.any_turns
    pulse.beat(14 * BEAT_S, {})
    assert not pulse.any_turns
