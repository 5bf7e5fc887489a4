"""The log's file, opened anew under its name after logrotate has moved it away (SIGUSR1)."""

import os
from collections.abc import Iterable


def reopen(path: str, fds: Iterable[int]) -> None:
    """Let `fds` lead to the file that is at `path` now, made if need be. OSError: they are as before."""
    fresh = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        for fd in fds:
            os.dup2(fresh, fd, inheritable=os.get_inheritable(fd))
    finally:
        os.close(fresh)
