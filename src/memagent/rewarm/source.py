"""A server that holds copies of the target's keys: its listing, and the connection for fetching.

    connect ─▶ list ─▶ (locked: again later; refused: another command; broken off: from the beginning)
                 └──▶ keys wait in `listing` ─▶ batches

The listing has a connection of its own and is read as fast as it comes, whatever the copying does: the
server's crawler holds a lock while it waits for a listing to be read, and whoever needs the crawler meanwhile
(the LRU maintainer, a thread that serves clients) waits for that lock.
"""

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from memagent._core.copies import Route, Tally
from memagent._core.listing import Listing
from memagent._core.marks import Marks
from memagent._core.standing import Standing
from memagent._core.warming import Batch
from memagent.errors import ProtocolError, ServerError
from memagent.rewarm.talk import Talk
from memagent.rewarm.wire import Facts, Wire

if TYPE_CHECKING:
    from memagent.settings import PoolConfig, ServerConfig

_MOST_WAITING_BYTES: Final = 2 * 1024 * 1024 * 1024
_SHORTEST_PAUSE_S: Final = 0.05
_LONGEST_PAUSE_S: Final = 1.0
_MOST_BREAKS: Final = 3
_SILENCE_S: Final = 30.0
_MGDUMP_SINCE: Final = (1, 6, 19)
# By hash table first: by LRU, an item that moves meanwhile may be missed.
_COMMANDS: Final = ("mgdump hash", "metadump hash", "metadump all")


class Source:
    def __init__(
        self,
        pool: "PoolConfig",
        server: "ServerConfig",
        addresses: tuple[str, ...],
        listing: Listing,
        tally: Tally,
        standing: Standing | None = None,
    ) -> None:
        self.name = server.name
        self.listing = listing
        self.tally = tally
        self.problem = ""  # why it was given up
        self.cannot_list = ""  # what it said to the last way of listing
        self.is_cut_short = False  # it has more keys than can be held
        self.facts = Facts()
        self.again: deque[Batch] = deque()
        self.trips = 0  # batches that have begun and not ended, verification included
        self.in_flight = 0  # those of them that are not stored yet
        self.item_bytes = 256.0
        self._standing = standing
        self._pool = pool
        self._server = server
        self._addresses = addresses
        self._breaks = 0
        self._pause_s = _SHORTEST_PAUSE_S
        self._list_at_s: float | None = None
        self._heard_at_s = 0.0
        self._commands: list[str] = []
        self.dump: Wire | None = None
        self.talk: Talk | None = None

    def connect(self, copy_marks: Callable[[], Marks | None], now_s: float) -> None:
        """ServerError if it cannot be used. The listing begins with the next `begin_listing`."""
        wire = self._wire()
        self.facts = wire.introduce()
        self.talk = Talk(wire, now_s)
        items = self.facts.number("curr_items", 0)
        if items:
            self.item_bytes = self.facts.number("bytes", 0) / items
        version = self.facts.version
        knows_mgdump = self.facts.has_meta and (not version or version >= _MGDUMP_SINCE)
        self._commands = [each for each in _COMMANDS if knows_mgdump or not each.startswith("mgdump")]
        # Where only the listing tells when an item expires, what was written since must be known.
        self.listing.is_dated = not self.facts.has_meta
        self.marks_before = None if self.facts.has_meta else copy_marks()
        self._list_at_s = now_s

    @property
    def is_out(self) -> bool:
        """Do the workers take it for anything but up?"""
        return self._standing is not None and self._standing.outage != self._standing.opened

    def set_target(self, target_facts: Facts, route: Route) -> None:
        self.target_facts = target_facts
        self.route = route

    def lose(self, problem: str) -> None:
        """Nothing more is to be had from it."""
        self.problem = self.problem or problem
        self.close()

    def close(self) -> None:
        self.stop_listing()
        if self.talk is not None:
            self.talk.wire.close()

    # ---------------------------------------------------------------- listing

    def stop_listing(self) -> None:
        """No more keys from here on."""
        self._end_dump()
        self._list_at_s = None
        self.tally.failed += sum(len(batch) for batch in self.again)
        self.again.clear()

    @property
    def is_listing(self) -> bool:
        return self.dump is not None or self._list_at_s is not None

    @property
    def is_locked(self) -> bool:
        """It lists for somebody else just now."""
        return self._list_at_s is not None and self._pause_s > _SHORTEST_PAUSE_S

    @property
    def expected_keys(self) -> float:
        """How many of the target's keys it has, as far as can be said."""
        if not self.is_listing:
            return self.tally.kept
        items = max(self.tally.listed, self.facts.number("curr_items", 0))
        return items * self.tally.kept / self.tally.listed if self.tally.listed else 0.0

    def list_in_s(self, now_s: float) -> float | None:
        return None if self._list_at_s is None else max(0.0, self._list_at_s - now_s)

    def begin_listing(self, now_s: float) -> None:
        """When its time has come. ServerError if it cannot be reached any more."""
        if self._list_at_s is None or now_s < self._list_at_s:
            return
        self._list_at_s = None
        wire = self._wire()
        wire.begin()
        self.listing.begin()
        wire.queue(f"lru_crawler {self._commands[0]}\r\n".encode())
        wire.flush()
        self.dump = wire
        self._heard_at_s = now_s

    def hear_listing(self, now_s: float) -> None:
        """Read once. ServerError or ProtocolError if it cannot go on."""
        wire = self.dump
        assert wire is not None
        try:
            wire.receive()
        except ServerError as error:
            self._end_dump()
            self._breaks += 1
            if self._breaks == _MOST_BREAKS:
                raise ServerError(f"its list of keys broke off {_MOST_BREAKS} times: {error}") from error
            self._list_at_s = now_s + _SHORTEST_PAUSE_S
            return
        self._heard_at_s = now_s
        try:
            self.listing.feed(wire.buffer, wire.start, wire.end)
        except ProtocolError:
            # mgdump writes some keys with line ends in them as they are; metadump never does.
            if not self._commands[0].startswith("mgdump"):
                raise
            self._end_dump()
            self._commands.pop(0)
            self._list_at_s = now_s
            return
        wire.start = wire.end
        if self.listing.waiting_bytes > _MOST_WAITING_BYTES:
            self._end_dump()
            self.is_cut_short = True
            return
        if self.listing.ended:
            self._end_dump()
            self._listing_ended(now_s)

    def check_silence(self, now_s: float) -> None:
        """ServerError if nothing of the listing has come for a long time."""
        if self.dump is not None and now_s - self._heard_at_s > _SILENCE_S:
            raise ServerError(f"its list of keys has not gone on for {_SILENCE_S:g} s")

    def _listing_ended(self, now_s: float) -> None:
        if self.listing.is_locked:
            self._list_at_s = now_s + self._pause_s
            self._pause_s = min(_LONGEST_PAUSE_S, 2 * self._pause_s)
        elif self.listing.refusal is not None:
            self._commands.pop(0)
            if self._commands:
                self._list_at_s = now_s
            else:
                self.cannot_list = self.listing.refusal

    def _end_dump(self) -> None:
        if self.dump is not None:
            self.dump.close()
            self.dump = None

    def _wire(self) -> Wire:
        return Wire(
            self._server,
            self._addresses,
            self._pool.connect_timeout_ms / 1000,
            self._pool.request_timeout_ms / 1000,
        )

    # ---------------------------------------------------------------- batches

    @property
    def has_keys(self) -> bool:
        return bool(self.again) or (not self.problem and self.listing.waiting > 0)

    @property
    def is_done(self) -> bool:
        if self.trips:
            return False
        return bool(self.problem) or not (
            self.is_listing or self.has_keys or (self.talk is not None and not self.talk.is_quiet)
        )

    def next_batch(self, most_keys: int) -> Batch:
        return self.again.popleft() if self.again else self.listing.take(self.route, most_keys)
