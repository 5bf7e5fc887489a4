"""Who answers: the first words on a new connection (behaviour section 3, same process or a new one)."""

import pytest

from memagent._core.identity import has_kept_its_data, make_mark, read_greeting

STATS = (
    b"STAT pid 4711\r\nSTAT uptime 60\r\nSTAT time 1700000060\r\nSTAT version %b\r\n"
    b"STAT rusage_user 0.1\r\nEND\r\n"
)


def test_a_memcached_that_speaks_meta() -> None:
    who = read_greeting(STATS % b"1.6.38" + b"MN\r\n")
    assert who is not None
    assert who.mark == make_mark(4711, 1_700_000_000)
    assert (who.time_s, who.version, who.meta, who.keeps_cas) == (1_700_000_060, (1, 6, 38), True, True)


@pytest.mark.parametrize(
    ("version", "answer", "meta", "keeps_cas"),
    [
        (b"1.4.31", b"ERROR\r\n", False, False),
        (b"1.6.26", b"MN\r\n", True, False),
        (b"1.6.27", b"MN\r\n", True, True),
        (b"1.6.27_beta2", b"MN\r\n", True, True),
        (b"1.10.0", b"MN\r\n", True, True),
        (b"1.6.38", b"CLIENT_ERROR no meta here\r\n", False, False),
        (b"1.6.9", b"MN\r\n", False, False),
        (b"1.6.10", b"MN\r\n", True, False),
        (b"unknown", b"MN\r\n", True, False),
    ],
)
def test_what_it_can_do(version: bytes, answer: bytes, meta: bool, keeps_cas: bool) -> None:
    who = read_greeting(STATS % version + answer)
    assert who is not None
    assert (who.meta, who.keeps_cas) == (meta, keeps_cas)


@pytest.mark.parametrize("refusal", [b"ERROR\r\n", b"CLIENT_ERROR stats are off\r\n", b"SERVER_ERROR no\r\n"])
def test_one_that_keeps_to_itself_who_it_is(refusal: bytes) -> None:
    who = read_greeting(refusal + b"MN\r\n")
    assert who is not None
    assert (who.mark, who.time_s, who.version, who.meta) == (0, 0, (), True)


@pytest.mark.parametrize(
    "stats",
    [b"END\r\n", b"STAT pid 1\r\nEND\r\n", b"STAT pid x\r\nSTAT time 9\r\nSTAT uptime 1\r\nEND\r\n"],
)
def test_one_that_says_too_little_is_unknown(stats: bytes) -> None:
    who = read_greeting(stats + b"ERROR\r\n")
    assert who is not None
    assert who.mark == 0


def test_an_answer_is_whole_or_nothing() -> None:
    whole = STATS % b"1.6.38" + b"MN\r\n"
    assert all(read_greeting(whole[:end]) is None for end in range(len(whole)))


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"HTTP/1.0 400 Bad Request\r\n", "answer to stats"),
        (b"STAT pid 1\r\nERROR\r\n", "answer to stats"),
        (b"END\r\nEND\r\n", "answer to mn"),
        (b"END\r\nMN\r\nMN\r\n", "answer to mn"),
        (b"STAT " + b"x" * 70_000, "more than"),
    ],
)
def test_no_memcached_says_that(answer: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        read_greeting(answer)


@pytest.mark.parametrize(
    ("then", "now", "kept"),
    [
        ((7, 1000), (7, 1000), True),
        ((7, 1000), (7, 1002), True),
        ((7, 1000), (7, 1003), False),
        ((7, 1000), (8, 1001), False),
        # memcached -e: what it had outlives the process, and so does its start
        ((7, 1000), (8, 1000, True), True),
        ((7, 1000, True), (8, 1000, True), True),
        # restarted in the very second in which it had begun
        ((7, 1000), (8, 1000), False),
        ((7, 1000, True), (8, 1000), False),
        ((7, 1000), (8, 1001, True), False),
        # of one and the same process the proof comes and goes
        ((7, 1000, True), (7, 1000), True),
        ((7, 1000), (7, 1002, True), True),
        ((7, 1000), (7, 900), False),
    ],
)
def test_the_same_data_or_not(then: tuple[int, ...], now: tuple[int, ...], kept: bool) -> None:
    assert has_kept_its_data(make_mark(*then), make_mark(*now)) is kept


def test_who_is_unknown_is_taken_for_the_same() -> None:
    assert has_kept_its_data(0, make_mark(7, 1000))
    assert has_kept_its_data(make_mark(7, 1000), 0)


@pytest.mark.parametrize(
    ("counts", "restored"),
    [
        ({}, False),
        ({"curr_items": 0, "cmd_set": 0}, False),
        ({"curr_items": 5, "total_items": 5, "cmd_set": 5}, False),
        ({"curr_items": 5, "total_items": 5, "cmd_set": 4}, True),
        # a get that makes what it misses (mg with N), and an incr that does
        ({"curr_items": 5, "total_items": 5, "cmd_set": 2, "cmd_get": 2, "incr_misses": 1}, False),
        ({"curr_items": 5, "total_items": 5, "cmd_set": 0, "cmd_meta": 5}, False),
        # after stats reset
        ({"curr_items": 5, "total_items": 0, "cmd_set": 0}, False),
    ],
)
def test_what_nobody_stored_there_was_taken_over(counts: dict[str, int], restored: bool) -> None:
    said = b"".join(b"STAT %b %d\r\n" % (name.encode(), count) for name, count in counts.items())
    who = read_greeting(said + STATS % b"1.6.38" + b"MN\r\n")
    assert who is not None
    assert who.mark == make_mark(4711, 1_700_000_000, restored)
