import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memagent._bench.replies import Checker
from memagent._bench.workload import Workload

Requests = list[tuple[str, list[int]]]


def checker(multiget: int = 1) -> tuple[Checker, Workload]:
    load = Workload(
        mix={"get": 1.0}, keys=100, key_prefix=b"k", key_bytes=4, value_bytes=9, multiget=multiget
    )
    return Checker(load, 32), load


def value(load: Workload, key: int, cas: bytes = b"") -> bytes:
    return b"VALUE k%03d 0 9%b\r\n%b\r\n" % (key, cas, load.value_of(key))


def read(requests: Requests, stream: bytes, multiget: int = 1) -> tuple[bool, Checker, dict[str, Any]]:
    reader, _ = checker(multiget)
    followed = reader.replay(requests, [stream])
    return followed, reader, reader.counts()


_, LOAD = checker()

# One of everything: (requests, replies, what is counted).
GOOD: list[tuple[Requests, bytes, dict[str, int]]] = [
    ([("get", [1])], value(LOAD, 1) + b"END\r\n", {"hits": 1, "misses": 0}),
    ([("get", [1])], b"END\r\n", {"hits": 0, "misses": 1}),
    ([("gets", [1])], value(LOAD, 1, b" 12") + b"END\r\n", {"hits": 1}),
    ([("set", [1])], b"STORED\r\n", {"stored": 1}),
    ([("set", [1])], b"NOT_STORED\r\n", {"not_stored": 1}),
    ([("delete", [1])], b"DELETED\r\n", {"hits": 1}),
    ([("delete", [1])], b"NOT_FOUND\r\n", {"misses": 1}),
    ([("touch", [1])], b"TOUCHED\r\n", {"hits": 1}),
    ([("incr", [1])], b"12\r\n", {"hits": 1}),
    ([("incr", [1])], b"9 \r\n", {"hits": 1}),
    ([("incr", [1])], b"NOT_FOUND\r\n", {"misses": 1}),
]


@pytest.mark.parametrize(("requests", "stream", "counted"), GOOD)
def test_good_replies(requests: Requests, stream: bytes, counted: dict[str, int]) -> None:
    followed, reader, counts = read(requests, stream)
    assert followed
    assert reader.unanswered == 0
    assert counts["requests"] == 1
    assert {name: counts[name] for name in counted} == counted
    assert not any(counts["errors"].values())


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (b"ERROR", "ERROR"),
        (b"CLIENT_ERROR bad command line format", "CLIENT_ERROR"),
        (b"SERVER_ERROR out of memory", "SERVER_ERROR"),
    ],
)
@pytest.mark.parametrize("verb", ["get", "gets", "set", "delete", "incr", "touch"])
def test_errors_are_answers(verb: str, line: bytes, kind: str) -> None:
    followed, reader, counts = read([(verb, [1]), ("set", [2])], line + b"\r\nSTORED\r\n")
    assert followed
    assert reader.unanswered == 0
    assert {name: n for name, n in counts["errors"].items() if n} == {kind: 1}
    assert counts["error_sample"] == line.decode()


@pytest.mark.parametrize(
    ("requests", "stream"),
    [
        ([("get", [1])], b"STORED\r\n"),
        ([("set", [1])], b"END\r\n"),
        ([("set", [1])], value(LOAD, 1) + b"END\r\n"),
        ([("delete", [1])], b"STORED\r\n"),
        ([("incr", [1])], b"1x\r\n"),
        ([("touch", [1])], b"12\r\n"),
        ([("set", [1])], b"STORED\n"),
        ([("set", [1])], b"\r\n"),
        ([("set", [1])], b"STORED\r\nSTORED\r\n"),
        ([("get", [1])], b"VALUE k001 0\r\nEND\r\n"),
        ([("get", [1])], b"VALUE k001 0 9x\r\n"),
        ([("get", [1])], b"VALUE k001 0 99999999999999999999\r\n"),
        ([("get", [1])], b"VALUE k001 0 9 12\r\n" + LOAD.value_of(1) + b"\r\nEND\r\n"),
        ([("gets", [1])], value(LOAD, 1) + b"END\r\n"),
        ([("get", [1])], b"VALUE k001 0 9\r\n" + LOAD.value_of(1) + b"xxEND\r\n"),
        ([("get", [1])], b"x" * 1024),
        ([], b"END\r\n"),
    ],
)
def test_framing_that_is_lost(requests: Requests, stream: bytes) -> None:
    followed, _, counts = read(requests, stream)
    assert not followed
    assert counts["errors"]["mismatches"] >= 1
    assert counts["mismatch_sample"] or stream == b"\r\n"


@pytest.mark.parametrize(
    "reply",
    [
        value(LOAD, 2),
        value(LOAD, 1) * 2,
        b"VALUE other 0 9\r\n" + LOAD.value_of(1) + b"\r\n",
        b"VALUE k001 0 9\r\n" + LOAD.value_of(2) + b"\r\n",
        b"VALUE k001 0 8\r\n" + LOAD.value_of(1)[:8] + b"\r\n",
    ],
    ids=["another key", "twice", "no key of ours", "another value", "another length"],
)
def test_a_wrong_value_is_seen_and_the_connection_goes_on(reply: bytes) -> None:
    followed, reader, counts = read([("get", [1]), ("set", [1])], reply + b"END\r\nSTORED\r\n")
    assert followed
    assert reader.unanswered == 0
    assert counts["errors"]["mismatches"] == 1
    assert counts["stored"] == 1


def test_a_multiget_in_any_order_with_repeated_keys() -> None:
    _, load = checker()
    stream = value(load, 9) + value(load, 3) + value(load, 9) + b"END\r\n"
    followed, _, counts = read([("get", [3, 9, 4, 9])], stream, multiget=4)
    assert followed
    assert (counts["hits"], counts["misses"], counts["keys_asked"]) == (3, 1, 4)
    assert counts["errors"]["mismatches"] == 0


def test_a_multiget_answered_once_too_often() -> None:
    _, load = checker()
    followed, _, counts = read([("get", [3, 4])], value(load, 3) * 2 + b"END\r\n", multiget=2)
    assert followed
    assert counts["errors"]["mismatches"] == 1


ALL_REQUESTS: Requests = [request for requests, _, _ in GOOD for request in requests]
ALL_REPLIES = b"".join(stream for _, stream, _ in GOOD)


@given(st.sets(st.integers(1, len(ALL_REPLIES) - 1)))
def test_any_cut_gives_the_same(cuts: set[int]) -> None:
    edges = [0, *sorted(cuts), len(ALL_REPLIES)]
    pieces = [ALL_REPLIES[a:b] for a, b in itertools.pairwise(edges)]
    whole, _ = checker()
    cut, _ = checker()
    assert whole.replay(ALL_REQUESTS, [ALL_REPLIES])
    assert cut.replay(ALL_REQUESTS, pieces)
    assert cut.counts() == whole.counts()
    assert cut.counts()["errors"]["mismatches"] == 0


def test_byte_by_byte() -> None:
    reader, _ = checker()
    assert reader.replay(ALL_REQUESTS, [bytes([byte]) for byte in ALL_REPLIES])
    assert reader.unanswered == 0
    assert reader.counts()["requests"] == len(ALL_REQUESTS)


@given(
    st.binary(max_size=300),
    st.lists(st.sampled_from(["get", "gets", "set", "delete", "incr", "touch"]), max_size=9),
)
def test_garbage_is_never_answered_for(noise: bytes, verbs: list[str]) -> None:
    reader, _ = checker()
    requests: Requests = [(verb, [1]) for verb in verbs]
    reader.replay(requests, [noise])
    assert reader.unanswered + reader.counts()["requests"] == len(requests)


def test_an_unfinished_reply_stays_unanswered() -> None:
    _, reader, counts = read([("get", [1])], b"VALUE k001 0 9\r\nabc")
    assert reader.unanswered == 1
    assert counts["requests"] == 0


def test_clear_forgets() -> None:
    reader, _ = checker()
    reader.replay([("set", [1])], [b"ERROR\r\n"])
    reader.clear()
    counts = reader.counts()
    assert counts["requests"] == 0
    assert counts["error_sample"] == ""
    assert reader.latency.count == 0
