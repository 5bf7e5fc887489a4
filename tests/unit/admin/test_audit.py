"""Who asked for what, in the log."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from memagent.admin.audit import acts, audited
from memagent.admin.requests import RefusedError, Reload, Request, read_request
from tests.support.leading import Memory

WHO = {"uid": 7}


@pytest.mark.parametrize(
    ("line", "is_act"),
    [
        (b'{"verb": "snapshot"}', False),
        (b'{"verb": "metrics"}', False),
        (b'{"verb": "counters"}', False),
        (b'{"verb": "config"}', False),
        (b'{"verb": "server", "server": "a"}', False),
        (b'{"verb": "hot"}', False),
        (b'{"verb": "slow"}', False),
        (b'{"verb": "tap"}', True),
        (b'{"verb": "log_level"}', False),
        (b'{"verb": "log_level", "level": "debug"}', True),
        (b'{"verb": "reload"}', True),
        (b'{"verb": "flush", "pool": "main", "confirm": "flush_all"}', True),
        (b'{"verb": "drain", "server": "a"}', True),
        (b'{"verb": "rewarm_pause", "server": "a"}', True),
    ],
)
def test_what_acts(line: bytes, is_act: bool):
    assert acts(read_request(line)) is is_act


def log_of(*said: dict[str, Any] | RefusedError) -> list[tuple[str, dict[str, Any]]]:
    """What is logged when this is answered; all of it but an error is passed on."""
    log = Memory()

    async def answer(_: Request) -> AsyncGenerator[dict[str, Any], None]:
        for each in said:
            if isinstance(each, RefusedError):
                raise each
            yield each

    async def ask() -> list[dict[str, Any]]:
        answers = audited(answer, Reload("reload"), "here", WHO, log)  # type: ignore[arg-type]
        return [line async for line in answers]

    if isinstance(said[-1], RefusedError):
        with pytest.raises(RefusedError):
            asyncio.run(ask())
    else:
        assert asyncio.run(ask()) == list(said)
    return log.said


ACTS = "an operator acts here", {"level": 20, **WHO, "request": {"verb": "reload"}}
REFUSED = (
    "an operator is refused here",
    {"level": 30, **WHO, "request": {"verb": "reload"}, "problem": "no"},
)


def test_it_is_logged_once_as_soon_as_it_has_begun():
    assert log_of({"progress": 1}, {"ok": True}) == [ACTS]


def test_what_is_refused_is_logged_also_when_it_had_begun():
    assert log_of(RefusedError("no")) == [REFUSED]
    assert log_of({"progress": 1}, RefusedError("no")) == [ACTS, REFUSED]
