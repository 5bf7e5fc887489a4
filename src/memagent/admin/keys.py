"""Where one key is: what `magent explain` shows, for the control API. Its servers are asked in a thread.

VALUE: {"base64": its first bytes, "is_whole": are these all?, "kind": what they look like, or null}
"""

import asyncio
import base64
import binascii
import threading
from collections.abc import Callable
from typing import Any, Final

from memagent.admin.requests import InvalidError, RefusedError
from memagent.admin.values import kind_of
from memagent.errors import ConfigError
from memagent.inspection.explain import Found, explain
from memagent.inspection.keys import HINT, problem_of, shown
from memagent.inspection.routing import Routed, routed
from memagent.settings import Config
from memagent.snapshot import Snapshot
from memagent.threads import in_thread
from memagent.topology import make_placement

_FOR_EACH_SERVER_S: Final = 1.0
_FOR_ALL_S: Final = 5.0
_MOST_AT_ONCE: Final = 4
_MOST_SHOWN_BYTES: Final = 64 * 1024
_URL_SAFE: Final = bytes.maketrans(b"-_", b"+/")


class KeyLookup:
    """`config` and `snapshot`: as they are now."""

    def __init__(self, config: Callable[[], Config], snapshot: Callable[[], Snapshot]) -> None:
        self._config = config
        self._snapshot = snapshot
        self._free = threading.Semaphore(_MOST_AT_ONCE)

    async def look_up(self, key: bytes, pool: str | None = None, with_value: bool = False) -> dict[str, Any]:
        """`pool`: as at an address of its own. InvalidError for what is no key, or one that no pool takes;
        RefusedError when its servers take too long. `with_value`: what each holder has, as VALUE.
        """
        way = way_of(self._config(), key, pool)
        work = self._work(key, way, _MOST_SHOWN_BYTES if with_value else 0)
        if not self._free.acquire(blocking=False):
            raise RefusedError(f"{_MOST_AT_ONCE} keys are looked up already", "try again")
        try:
            async with asyncio.timeout(_FOR_ALL_S):
                found = await in_thread(work, "look up a key")
        except TimeoutError:
            raise RefusedError(f"its servers did not answer within {_FOR_ALL_S:g} s") from None
        texts = {"key": shown(key), "stored_key": shown(way.stored)}
        return {**found, **texts, "key_base64": base64.b64encode(key).decode()}

    def _work(self, key: bytes, way: Routed, keep_bytes: int) -> Callable[[], dict[str, Any]]:
        """The loop's part is done here."""
        states = {
            ("backup" if server.backup else "server", server.name): str(server.state)
            for server in self._snapshot().servers()
            if server.pool == way.pool.name
        }

        def work() -> dict[str, Any]:
            try:
                placement = make_placement(way.pool)
                found = explain(key, way, placement, states, _FOR_EACH_SERVER_S, keep_bytes)
                told = found.as_dict()
                if keep_bytes:
                    told["owner"]["value"] = _value(found.owner)
                    if found.copy is not None:
                        told["copy"]["value"] = _value(found.copy)
                return told
            finally:
                # Here, because a thread that nobody waits for any more still takes its place.
                self._free.release()

        return work


def way_of(config: Config, key: bytes, pool: str | None) -> Routed:
    """InvalidError for what is no key, or one that no pool takes."""
    problem = problem_of(key)
    if problem is not None:
        raise InvalidError(problem.encode(errors="backslashreplace").decode(), HINT)
    try:
        return routed(config, key, pool)
    except ConfigError as error:
        raise InvalidError(error.message.encode(errors="backslashreplace").decode(), error.hint) from None


def decoded(text: bytes, what: str) -> bytes:
    """Base64 of either alphabet, with or without its end. InvalidError."""
    try:
        return base64.b64decode(text.translate(_URL_SAFE) + b"=" * (-len(text) % 4), validate=True)
    except binascii.Error as error:
        raise InvalidError(f"{what} is no base64: {error}") from None


def _value(found: Found) -> dict[str, Any] | None:
    if found.item is None:
        return None
    start = found.item.start
    return {
        "base64": base64.b64encode(start).decode(),
        "is_whole": len(start) == found.item.size_bytes,
        "kind": kind_of(start),
    }
