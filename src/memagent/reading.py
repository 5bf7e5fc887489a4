"""What the readers of configuration share: a file as text, a list of mistakes, the nearest name.

Every mistake of one run is reported at once: a reader notes it, puts nothing in its place and goes on.
"""

import difflib
from collections.abc import Iterable
from typing import Final, NoReturn

from memagent.errors import ConfigError

MOST_FILE_BYTES = 1024 * 1024

# A file with more has one cause for all, or is meant to keep us busy.
_MOST_MISTAKES = 100


class Mistakes:
    """Notes mistakes; `raise_if_any` makes one error of them, file by file in the order of their lines."""

    def __init__(self, hint: str | None = None) -> None:
        self._hint = hint
        self._noted: list[tuple[int, int, str]] = []
        self._files = {"": 0}
        self.warnings: list[str] = []

    def note(self, *parts: str, line: int = 0, file: str = "") -> None:
        """`parts` lead from the outside in and end with what is wrong: `FILE:LINE`, `pool "users"`, ..."""
        rank = self._files.setdefault(file, len(self._files))
        entry = (rank, line, ": ".join(part for part in parts if part))
        if entry in self._noted:
            return
        self._noted.append(entry)
        if len(self._noted) >= _MOST_MISTAKES:
            self._raise("there are more mistakes: these are the first")

    def warn(self, *parts: str) -> None:
        """What is allowed and still not right."""
        self.warnings.append(": ".join(part for part in parts if part))

    def raise_if_any(self) -> None:
        if self._noted:
            self._raise(self._hint)

    def _raise(self, hint: str | None) -> NoReturn:
        lines = [text for *_, text in sorted(self._noted, key=lambda entry: entry[:2])]
        raise ConfigError("\n".join(lines), hint) from None


under_way: Final[list[str]] = []
"""Files that are being read at this moment, by whatever thread: where that hangs, it is here that it does."""


def read_text(path: str) -> str:
    """A configuration file as text."""
    under_way.append(path)
    try:
        with open(path, "rb") as file:
            content = file.read(MOST_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path}: {(error.strerror or str(error)).lower()}") from None
    except ValueError:
        raise ConfigError("the path of the configuration has a zero byte") from None
    finally:
        under_way.remove(path)
    if len(content) > MOST_FILE_BYTES:
        raise ConfigError(f"{path}: larger than 1 MiB: this is no configuration")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}:{line}: not UTF-8 text (byte 0x{content[error.start]:02x})") from None


def closest(name: str, names: Iterable[str]) -> str | None:
    """The name that looks most like a wrong one."""
    found = difflib.get_close_matches(name[:64].lower(), list(names), n=1)
    return found[0] if found else None


def nearest(name: str, names: Iterable[str]) -> str:
    """` (did you mean "x"?)` for the closest name, else nothing."""
    found = closest(name, names)
    return f' (did you mean "{found}"?)' if found else ""
