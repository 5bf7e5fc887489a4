"""Bytes from a terminal as keys: one character, or the name of what has none.

An arrow is several bytes that begin as Escape does, and a slow line may bring them one by one: what begins
like one is kept until the rest has come, or `flush` says that nothing more does.
"""

import codecs
import re
from typing import Final

NAMED: Final = {
    "\x1b[A": "up",
    "\x1bOA": "up",
    "\x1b[B": "down",
    "\x1bOB": "down",
    "\x1b[5~": "page up",
    "\x1b[6~": "page down",
    "\x1b[H": "home",
    "\x1bOH": "home",
    "\x1b[1~": "home",
    "\x1b[F": "end",
    "\x1bOF": "end",
    "\x1b[4~": "end",
    "\x1b": "escape",
    "\r": "enter",
    "\n": "enter",
    "\x7f": "backspace",
    "\x08": "backspace",
    "\x15": "clear",
}
_WHOLE: Final = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|O[ -~]|[^\[O\x1b])|[^\x1b]|\x1b(?=\x1b)", re.DOTALL)
_LONGEST_SEQUENCE: Final = 32


class Keys:
    """Of one terminal."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="surrogateescape")
        self._text = ""

    @property
    def is_waiting(self) -> bool:
        """Is there a beginning of a key?"""
        return bool(self._text)

    def feed(self, data: bytes) -> list[str]:
        """The keys that are whole now. Sequences that nobody knows are dropped."""
        self._text += self._decoder.decode(data)
        keys = []
        while (found := _WHOLE.match(self._text)) is not None:
            self._text = self._text[found.end() :]
            keys += _named(found[0])
        if len(self._text) > _LONGEST_SEQUENCE:
            self._text = ""
        return keys

    def flush(self) -> list[str]:
        """Nothing more came: it was Escape, or is given up."""
        text, self._text = self._text, ""
        return _named(text)


def _named(text: str) -> list[str]:
    if text in NAMED:
        return [NAMED[text]]
    # not one that steers: no name, and in a key of memcached it may not be
    return [text] if len(text) == 1 and (text.isprintable() or "\udc80" <= text <= "\udcff") else []
