"""Waiting for a condition with a deadline: the only waiting that tests do."""

import os
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE = float(os.environ.get("MEMAGENT_TEST_PATIENCE", "1"))
"""Every deadline is multiplied by this: sanitizers, coverage and valgrind make everything slower."""


def wait_until(
    condition: Callable[[], T],
    deadline_s: float = 10.0,
    what: str | Callable[[], str] = "",
    every_s: float = 0.005,
    ignoring: tuple[type[Exception], ...] = (OSError,),
) -> T:
    """The first true value of `condition`; a TimeoutError that names `what` once the deadline has passed."""
    end = time.monotonic() + deadline_s * PATIENCE
    while True:
        problem: Exception | None = None
        value: T | None = None
        try:
            value = condition()
        except ignoring as error:
            problem = error
        if value:
            return value
        if time.monotonic() >= end:
            seen = f"last error: {problem!r}" if problem else f"last value: {value!r}"
            awaited = (what() if callable(what) else what) or condition
            raise TimeoutError(f"{deadline_s * PATIENCE:g} s passed without {awaited}; {seen}")
        time.sleep(every_s)
