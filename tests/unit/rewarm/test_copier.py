"""A whole re-warm between servers in memory that keep to the protocol, or do not."""

from collections.abc import Callable

import pytest

from memagent._core.copies import ATTEMPTS
from memagent._core.marks import Marks, marks_bytes
from memagent._core.standing import Standing, standing_slots
from memagent.rewarm.copier import Copier
from memagent.rewarm.job import Report
from tests.support.meta_server import MetaServer, Stored

from .conftest import Run

KEYS = [b"key:%d" % i for i in range(2000)]
GLOBAL = 1 << 61


def items(keys: list[bytes] = KEYS) -> dict[bytes, Stored]:
    return {key: Stored(b"value of " + key, i % 7, -1 if i % 3 else 100 + i) for i, key in enumerate(keys)}


@pytest.mark.parametrize(
    ("source", "target"),
    [
        (("1.6.38", True), ("1.6.38", True)),
        (("1.6.18", True), ("1.6.38", True)),
        (("1.6.38", True), ("1.5.6", False)),
        (("1.5.6", False), ("1.6.38", True)),
        (("1.5.6", False), ("1.5.6", False)),
    ],
)
def test_everything_is_copied_between_any_two(
    run: Run, source: tuple[str, bool], target: tuple[str, bool]
) -> None:
    held = items()
    if not source[1]:
        # These say when an item expires, not how long it has left.
        held = {key: Stored(item.value, item.flags) for key, item in held.items()}
    old, empty = MetaServer(dict(held), *source), MetaServer({}, *target)
    last = run(empty, [old])
    assert (last.event, last.copied, last.kept) == ("done", 2000, 2000), last
    assert empty.items == held


def test_a_second_run_finds_everything_there(run: Run) -> None:
    old = MetaServer(items())
    target = MetaServer(items())
    last = run(target, [old])
    assert (last.event, last.copied, last.there) == ("done", 0, 2000)
    assert not any(line.startswith((b"ms", b"md")) for line in target.lines)
    assert not any(line.startswith(b"mg") for line in old.lines)


def test_a_newer_value_is_never_overwritten(run: Run) -> None:
    target = MetaServer({KEYS[0]: Stored(b"newer")})
    last = run(target, [MetaServer(items(KEYS[:3]))])
    assert (last.copied, last.there) == (2, 1)
    assert target.items[KEYS[0]].value == b"newer"


@pytest.mark.parametrize(("version", "cas"), [("1.6.38", GLOBAL | 9), ("1.6.18", 1)])
def test_a_shared_cas_goes_along_where_servers_can(run: Run, version: str, cas: int) -> None:
    target = MetaServer({}, version)
    run(target, [MetaServer({b"a": Stored(b"v", cas=GLOBAL | 9), b"b": Stored(b"v", cas=9)})])
    assert (target.items[b"a"].cas, target.items[b"b"].cas) == (cas, 1)


def test_several_sources_are_copied_at_once(run: Run) -> None:
    """Each key is kept from the backup that the ring names, and from no other."""
    one, other, target = MetaServer(items()), MetaServer(items()), MetaServer()
    last = run(target, [one, other])
    assert (last.event, last.listed, last.kept, last.copied) == ("done", 4000, 2000, 2000)
    assert target.items == items()


def test_an_empty_source_is_done_at_once(run: Run) -> None:
    last = run(MetaServer(), [MetaServer()])
    assert (last.event, last.kept, last.copied, last.total) == ("done", 0, 0, 0)


def test_without_a_source_there_is_nothing_to_copy(run: Run) -> None:
    last = run(MetaServer(), [])
    assert (last.event, last.reason) == (
        "failed",
        "no server that holds its copies is up, so nothing to copy",
    )


# ---------------------------------------------------------------- listing


def test_a_source_that_refuses_to_list_is_named(run: Run) -> None:
    def refuse(line: bytes, reply: bytes) -> bytes:
        return b"ERROR\r\n" if line.startswith(b"lru_crawler") else reply

    last = run(MetaServer(), [MetaServer(items(), twist=refuse)])
    assert last.event == "done"
    assert "cannot list keys (ERROR)" in last.reason
    assert last.copied == 0


def test_another_way_of_listing_is_tried(run: Run) -> None:
    def refuse(line: bytes, reply: bytes) -> bytes:
        return b"ERROR\r\n" if b"mgdump" in line or line.endswith(b"metadump hash") else reply

    source, target = MetaServer(items(), twist=refuse), MetaServer()
    assert run(target, [source]).event == "done"
    assert target.items == items()


def test_a_locked_listing_is_waited_for(run: Run) -> None:
    answers = [
        b"BUSY currently processing crawler request\r\n",
        b"OK\r\nERROR locked try again later\r\n",
    ] * 3

    def busy(line: bytes, reply: bytes) -> bytes:
        return answers.pop() if line.startswith(b"lru_crawler") and answers else reply

    phases: list[str] = []
    target = MetaServer()
    last = run(
        target, [MetaServer(items(), twist=busy)], during=lambda copier, report: phases.append(report.phase)
    )
    assert (last.event, target.items) == ("done", items())
    assert "locked" in phases


def test_a_listing_that_breaks_off_begins_again(run: Run) -> None:
    breaks = [1, 1]

    def cut(line: bytes, reply: bytes) -> bytes | None:
        return None if line.startswith(b"lru_crawler") and breaks and breaks.pop() else reply

    target = MetaServer()
    assert run(target, [MetaServer(items(), twist=cut)]).event == "done"
    assert target.items == items()
    last = run(
        MetaServer(), [MetaServer(items(), twist=lambda line, reply: None if b"dump" in line else reply)]
    )
    assert last.event == "failed"
    assert "broke off 3 times" in last.reason


# ---------------------------------------------------------------- lies


def fetch(line: bytes) -> bool:
    return line.startswith(b"mg ") and b" v " in line


LIES: dict[str, tuple[Callable[[bytes, bytes], bytes | None], str]] = {
    "garbage in the list": (
        lambda line, reply: b"HTTP/1.1 400\r\n" if b"dump" in line else reply,
        "belongs to no listing",
    ),
    "an endless line in the list": (
        lambda line, reply: b"mg " + b"x" * 9000 if b"dump" in line else reply,
        "without an end",
    ),
    "another key": (
        lambda line, reply: reply.replace(b" k", b" kother") if fetch(line) else reply,
        "another key",
    ),
    "garbage for a value": (lambda line, reply: b"\x00\xff\r\n" if fetch(line) else reply, "does not belong"),
    "an endless line for a value": (
        lambda line, reply: b"VA " + b"1" * 9000 if fetch(line) else reply,
        "without an end",
    ),
    "a value that never ends": (
        lambda line, reply: b"VA 1000000 " + reply.split(b" ", 2)[2] if fetch(line) else reply,
        "no answer for 1 s|does not end",
    ),
    "too many replies": (lambda line, reply: reply * 2 if fetch(line) else reply, "another key"),
    "silence": (lambda line, reply: b"" if fetch(line) else reply, "no answer for 1 s"),
    "hangs up": (lambda line, reply: None if fetch(line) else reply, "closed the connection"),
    "errors": (lambda line, reply: b"ERROR\r\n" if fetch(line) else reply, "does not belong"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_source_that_lies_is_given_up_with_the_reason(run: Run, lie: str) -> None:
    twist, problem = LIES[lie]
    patience_s = 1.0 if "no answer for 1 s" in problem else 20.0
    last = run(MetaServer(), [MetaServer(items(KEYS[:50]), twist=twist)], patience_s=patience_s)
    assert last.event == "failed"
    assert last.reason.startswith("server 127.0.0.1:")
    assert any(each in last.reason for each in problem.split("|")), last.reason
    assert last.unverified == 0


def test_the_other_sources_go_on(run: Run) -> None:
    honest, liar, target = (
        MetaServer(items()),
        MetaServer(items(), twist=LIES["another key"][0]),
        MetaServer(),
    )
    last = run(target, [honest, liar])
    assert last.event == "failed"
    assert 0 < last.copied < 2000
    assert len(target.items) == last.copied
    assert "another run goes on" in last.reason


@pytest.mark.parametrize(
    ("when", "said", "problem"),
    [
        (b" u q O", b"HD O999\r\n", "does not belong"),
        (b" u q O", b"x" * 9000, "without an end"),
        (b"ms ", b"NS O999\r\n", "does not belong"),
        (b"ms ", None, "closed the connection"),
        (b"stats", None, "closed the connection"),
    ],
)
def test_a_target_that_lies_ends_it(run: Run, when: bytes, said: bytes | None, problem: str) -> None:
    target = MetaServer(twist=lambda line, reply: said if when in line else reply)
    last = run(target, [MetaServer(items(KEYS[:50]))])
    assert last.event == "failed"
    assert problem in last.reason
    assert "start it again once it is up" in last.reason


def test_a_target_that_falls_silent_ends_it(run: Run) -> None:
    target = MetaServer(twist=lambda line, reply: b"" if line == b"mn" and len(target.lines) > 5 else reply)
    last = run(target, [MetaServer(items(KEYS[:50]))], patience_s=1.0)
    assert last.event == "failed"
    assert "no answer for 1 s" in last.reason


# ---------------------------------------------------------------- marks


def test_a_key_that_is_deleted_while_it_is_copied_does_not_come_back(run: Run) -> None:
    shared = bytearray(marks_bytes(1))
    marks = Marks(shared)
    source = MetaServer(items(KEYS[:20]))

    def delete_while_copied(line: bytes, reply: bytes) -> bytes:
        if line.startswith(b"ms %b " % KEYS[3]) and KEYS[3] in source.items:
            marks.stamp_key(KEYS[3])
            del source.items[KEYS[3]]
        return reply

    target = MetaServer(twist=delete_while_copied)
    last = run(target, [source], marks=shared)
    assert last.event == "done"
    assert (last.copied, last.again, last.gone) == (19, 1, 1)
    assert target.items == source.items


def test_a_key_that_never_rests_is_left_missing(run: Run) -> None:
    shared = bytearray(marks_bytes(1))
    marks = Marks(shared)

    def write(line: bytes, reply: bytes) -> bytes:
        if line.startswith(b"ms %b " % KEYS[3]):
            marks.stamp_key(KEYS[3])
        return reply

    target = MetaServer(twist=write)
    last = run(target, [MetaServer(items(KEYS[:20]))], marks=shared)
    assert (last.event, last.copied, last.changed, last.again) == ("done", 19, 1, ATTEMPTS - 1)
    assert KEYS[3] not in target.items


def test_a_source_that_goes_down_is_asked_for_nothing_more(run: Run) -> None:
    """It still answers us: but what the workers write meanwhile it misses."""
    shared = bytearray(marks_bytes(1) + 8 * standing_slots(1))
    row = marks_bytes(1) // 8
    standing = Standing(shared, row)
    asked: list[bytes] = []

    def go_down(line: bytes, reply: bytes) -> bytes:
        if line.startswith(b"mg "):
            asked.append(line)
            if len(asked) == 100:  # more than are ever under way at once: the first ones are stored
                standing.begin_outage(0)
        return reply

    target = MetaServer()
    last = run(
        target, [MetaServer(items(), twist=go_down)], marks=shared, standings=(row, row), keys_per_s=2000
    )
    assert last.event == "failed"
    assert "it went down" in last.reason
    assert 0 < last.copied <= len(asked) < 2000


# ---------------------------------------------------------------- commands


def test_paused_it_begins_nothing_and_resumed_it_ends(run: Run) -> None:
    seen: list[Report] = []

    def once(copier: Copier, report: Report) -> None:
        seen.append(report)
        if report.phase == "connecting":
            copier.pause()
        elif report.phase == "paused" and len(seen) == 4:
            assert report.copied == 0
            copier.resume()

    target = MetaServer()
    assert run(target, [MetaServer(items())], during=once).copied == 2000
    assert [report.phase for report in seen[1:4]] == ["paused"] * 3


@pytest.mark.parametrize("with_marks", [True, False])
def test_aborted_it_verifies_what_it_has_copied(run: Run, with_marks: bool) -> None:
    def once(copier: Copier, report: Report) -> None:
        if report.copied:
            copier.end("told to stop")

    target = MetaServer()
    shared = bytearray(marks_bytes(1)) if with_marks else None
    last = run(target, [MetaServer(items())], during=once, marks=shared, keys_per_s=500)
    assert last.event == "aborted"
    assert last.reason.startswith("told to stop; ")
    assert 0 < last.copied < 2000
    assert (len(target.items), last.unverified) == (last.copied, 0)


def test_rates_hold_and_can_be_lifted(run: Run) -> None:
    slow = run(MetaServer(), [MetaServer(items(KEYS[:500]))], keys_per_s=500)
    assert slow.elapsed_s > 0.8
    slow = run(MetaServer(), [MetaServer(items(KEYS[:500]))], bytes_per_s=10_000)
    assert slow.elapsed_s > 0.8

    def lift(copier: Copier, report: Report) -> None:
        if report.copied:
            copier.set_rates(0, 0)

    quick = run(MetaServer(), [MetaServer(items())], keys_per_s=20, during=lift)
    assert quick.event == "done"
    assert quick.elapsed_s < 50


def test_progress_says_how_far_it_is(run: Run) -> None:
    seen: list[Report] = []

    def until_seen(copier: Copier, report: Report) -> None:
        seen.append(report)
        if sum(map(is_listed, seen)) == 2:
            copier.set_rates(0, 0)

    def is_listed(report: Report) -> bool:
        return report.phase == "copying" and report.kept == 2000 and report.copied > 0

    run(MetaServer(), [MetaServer(items())], during=until_seen, keys_per_s=200)
    listed = list(filter(is_listed, seen))
    assert len(listed) >= 2
    for report in listed:
        assert report.total == 2000
        assert report.source.startswith("127.0.0.1:")
        assert report.eta_s is not None
        assert report.eta_s >= 0
    assert [report.copied for report in seen] == sorted(report.copied for report in seen)
