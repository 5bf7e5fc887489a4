"""Batches of a re-warm without servers: keys that are listed, and replies in any pieces."""

import base64

from memagent._core.copies import Route, Tally
from memagent._core.listing import Listing
from memagent._core.ring import Placement
from memagent._core.warming import FETCH, Batch

# One server and one backup: every key belongs to both.
PLACEMENT = Placement([("", "127.0.0.1", 1, 1)], [("", "127.0.0.1", 2, 1)], "ketama", "md5")


def mgdump(keys: list[bytes], binary: bool = False) -> bytes:
    lines = [
        b"mg %b b\r\n" % base64.b64encode(key) if binary or b" " in key else b"mg %b\r\n" % key
        for key in keys
    ]
    return b"".join(lines) + b"EN\r\n"


def listed(
    data: bytes, placement: Placement = PLACEMENT, target: int = 0, source: int = 1, is_dated: bool = False
) -> Listing:
    listing = Listing(placement, target, source, Tally())
    listing.is_dated = is_dated
    listing.feed(data, 0, len(data))
    return listing


def batch_of(keys: list[bytes], route: Route, binary: bool = False) -> Batch:
    return listed(mgdump(keys, binary)).take(route, len(keys))


def hear(batch: Batch, step: int, data: bytes, piece_bytes: int = 0) -> bytes:
    """Replies as they come over a connection, in pieces; what is left once the step is heard."""
    held = b""
    while True:
        piece, data = data[: piece_bytes or len(data)], data[piece_bytes or len(data) :]
        held += piece
        start = batch.hear(step, held, 0, len(held))
        held = held[start:]
        if batch.heard or not data:
            return held + data


def fetched(batch: Batch, replies: bytes, piece_bytes: int = 0) -> list[bytes]:
    """The stores that the replies make."""
    batch.fetch()
    assert hear(batch, FETCH, replies, piece_bytes) == b""
    assert batch.heard
    assert batch.fetched
    return batch.stores().split(b"\r\n")[:-1]


def meta_item(key: bytes, value: bytes = b"v", flags: int = 0, ttl: int = -1, cas: int = 1) -> bytes:
    return b"VA %d k%b f%d t%d c%d\r\n%b\r\n" % (len(value), key, flags, ttl, cas, value)
