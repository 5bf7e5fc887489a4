"""A secret in a file of its own: only who may decide it may have written it.

Container platforms mount such files, a package puts them beside the configuration. The text is everything but
the newline at its end. No error shows any of it.
"""

import os
import stat
from typing import NamedTuple

_MOST_BYTES = 64 * 1024
_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


class SecretFile(NamedTuple):
    text: str
    readable_by_all: bool


def read_secret(path: str) -> SecretFile:
    """The secret in a file; ValueError says why it is not taken."""
    if not path.startswith("/") or not path.isprintable():
        raise ValueError("must be an absolute path")
    try:
        with open(path, "rb", opener=_open) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ValueError("is no regular file")
            if status.st_mode & _WRITABLE_BY_OTHERS or status.st_uid not in (0, os.geteuid()):
                raise ValueError("others may write it: it must belong to you or root (chmod go-w)")
            content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise ValueError((error.strerror or str(error)).lower()) from None
    if len(content) > _MOST_BYTES:
        raise ValueError("is larger than 64 KiB: this is no secret")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError("is not UTF-8 text") from None
    return SecretFile(text.removesuffix("\n").removesuffix("\r"), bool(status.st_mode & stat.S_IROTH))


def _open(path: str, flags: int) -> int:
    # a pipe in its place would keep us waiting for ever
    return os.open(path, flags | os.O_NONBLOCK)
