from typing import TypedDict

class Item(TypedDict):
    key: bytes | None
    is_binary: bool
    length: int
    flags: int
    cas: int
    ttl_s: int
    opaque: int
    is_stale: bool
    won: bool

def read_item(line: bytes, meta: bool = True) -> Item: ...
