"""What clients say for what they mean: classic or meta, keys as they are or in base64.

A reply says STORED, DELETED, END ... however it was asked for; the request's form stands in its `Op`.
"""

import base64

from tests.chaos.client import Reply
from tests.chaos.history import Op
from tests.chaos.load import Hand

META_SHARE = 0.4
BASE64_SHARE = 0.25

MODES = {"set": b"", "add": b" ME", "append": b" MA", "cas": b""}


def _is_meta(hand: Hand, op: Op, verb: str) -> bool:
    is_meta = hand.rng.random() < META_SHARE
    if is_meta:
        op.form = f"{verb} "
    return is_meta


def _word(hand: Hand, op: Op, key: bytes) -> tuple[bytes, bytes]:
    """A key in a meta request, and the flag that it needs."""
    if hand.rng.random() >= BASE64_SHARE:
        return key, b""
    op.form += "b64 "
    return base64.b64encode(key), b" b"


def _said(reply: Reply, **words: str) -> Reply:
    reply.line = words.get(reply.line, reply.line)
    return reply


def name_hit(reply: Reply, key: bytes) -> None:
    """A meta reply does not say whose item it is."""
    if b"" in reply.hits:
        reply.hits[key] = reply.hits.pop(b"")


def _item(reply: Reply, key: bytes) -> Reply:
    """As a get's: what is there, and END."""
    name_hit(reply, key)
    return _said(reply, VA="END", EN="END")


async def get(hand: Hand, op: Op, key: bytes, is_cas: bool = False) -> Reply:
    """With its cas unique, if need be."""
    if not _is_meta(hand, op, "mg"):
        return await hand.ask((b"gets " if is_cas else b"get ") + key + b"\r\n", "values")
    word, flag = _word(hand, op, key)
    return _item(await hand.ask(b"mg %b%b v f c\r\n" % (word, flag), "meta"), key)


async def store(
    hand: Hand, op: Op, mode: str, key: bytes, value: bytes, flags: int = 0, ttl_s: int = 0, cas: int = 0
) -> Reply:
    if not _is_meta(hand, op, "ms"):
        unique = b" %d" % cas if mode == "cas" else b""
        head = b"%b %b %d %d %d%b\r\n" % (mode.encode(), key, flags, ttl_s, len(value), unique)
        return await hand.ask(head + value + b"\r\n")
    reply = await hand.ask(quiet_store(hand, op, mode, key, value, flags, ttl_s, cas, b""), "meta")
    return _said(reply, HD="STORED", NS="NOT_STORED", EX="EXISTS", NF="NOT_FOUND")


def quiet_store(
    hand: Hand,
    op: Op,
    mode: str,
    key: bytes,
    value: bytes,
    flags: int,
    ttl_s: int = 0,
    cas: int = 0,
    quiet: bytes = b" q",
) -> bytes:
    """An ms that says nothing if all is well."""
    word, flag = _word(hand, op, key)
    flag += MODES[mode] + (b" C%d" % cas if mode == "cas" else b"") + (b" T%d" % ttl_s if ttl_s else b"")
    return b"ms %b %d F%d%b%b\r\n%b\r\n" % (word, len(value), flags, flag, quiet, value)


async def delete(hand: Hand, op: Op, key: bytes) -> Reply:
    if not _is_meta(hand, op, "md"):
        return await hand.ask(b"delete " + key + b"\r\n")
    word, flag = _word(hand, op, key)
    reply = await hand.ask(b"md %b%b\r\n" % (word, flag), "meta")
    return _said(reply, HD="DELETED", NF="NOT_FOUND")


async def touch(hand: Hand, op: Op, key: bytes, ttl_s: int) -> Reply:
    if not _is_meta(hand, op, "mg"):
        return await hand.ask(b"touch %b %d\r\n" % (key, ttl_s))
    word, flag = _word(hand, op, key)
    reply = await hand.ask(b"mg %b%b T%d\r\n" % (word, flag, ttl_s), "meta")
    return _said(reply, HD="TOUCHED", EN="NOT_FOUND")


async def get_and_touch(hand: Hand, op: Op, key: bytes, ttl_s: int) -> Reply:
    if not _is_meta(hand, op, "mg"):
        return await hand.ask(b"%b %d %b\r\n" % (hand.rng.choice((b"gat", b"gats")), ttl_s, key), "values")
    word, flag = _word(hand, op, key)
    return _item(await hand.ask(b"mg %b%b v f T%d\r\n" % (word, flag, ttl_s), "meta"), key)


async def step(hand: Hand, op: Op, key: bytes, amount: int) -> Reply:
    """incr, or decr; the reply is the number."""
    if not _is_meta(hand, op, "ma"):
        return await hand.ask(b"%b %b %d\r\n" % (b"incr" if amount > 0 else b"decr", key, abs(amount)))
    word, flag = _word(hand, op, key)
    mode = b"" if amount > 0 else b" MD"
    reply = await hand.ask(b"ma %b%b%b D%d v\r\n" % (word, flag, mode, abs(amount)), "meta")
    for hit in reply.hits.values():
        reply.line = hit.value.decode()
    return _said(reply, NF="NOT_FOUND")
