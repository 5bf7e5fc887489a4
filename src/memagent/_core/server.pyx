"""A memcached server as this worker sees it: ways to it, whether it is up, and how it comes back.

    ┌────┐  refused, lost and not re-made, too many timeouts, a write not certain to have arrived   ┌──────┐
    │ UP │ ───────────────────────────────────────────────────────────────────────────────────────▶ │ DOWN │ ⟲ probe
    └────┘ ◀── opened for all workers ── WARMING ◀── played ── RETURNING ◀── a probe is answered ── └──────┘
                                       (copies only)          (copies only)

Invariants (behaviour section 3):
- No request ever waits for a server that is DOWN or RETURNING.
- A server with copies is UP here only while no outage is under way anywhere: one that another worker began is joined
  before the server is used again.
- The outage is raised, and the key noted, before a write that the server may have missed is acknowledged.
- RETURNING ends when nothing that was sent before can reach the server any more, everything that it missed is played,
  and no write is under way that leaves it out. A journal is played to an empty process too: other workers may have
  written there already what this one has made old.
- In a pool without copies nothing is kept: DOWN to UP with the first answer. Keys that move (a migration) have two servers
  for a while: `set_copies`.
"""

cimport cython
from libc.stdint cimport int64_t, uint64_t

from memagent._core.buffer cimport Memory
from memagent._core.channel cimport F_DOWN, F_REFUSED, F_RESET, F_TIMED_OUT, Channel, Failure, way
from memagent._core.identity import has_kept_its_data
from memagent._core.journal cimport Journal
from memagent._core.latency cimport Histograms
from memagent._core.metrics cimport (
    S_DOWNS,
    S_JOURNAL_OVERFLOWS,
    S_PROBE_FAILURES,
    S_PROBES,
    S_RESTARTS_SEEN,
    S_STATE,
    S_UP,
    Block,
)
from memagent._core.player cimport Player
from memagent._core.reply cimport ReplyParser
from memagent._core.standing cimport Standing
from memagent._core.turn cimport Turn

cdef enum:
    SETTLE_US = 1_000_000   # what a lost connection had brought is done by then
    REFILL_WINDOW = 256
    GRACE_US = 250_000      # waits that are over are ended so late at most
    OPEN_AGAIN_US = 1_000_000

NAMES = ("up", "down", "returning", "warming")
GAUGE = (0, 3, 2, 1)
HELD = 4


cdef Server keep_closed(Server server):
    """Something of a key of this server begins that another one decides about: it is not opened before `let_open` is given
    what this returns, None where it is up.
    """
    if server.state == UP:
        return None
    server.elsewhere += 1
    if server.elsewhere == 1:
        server.say()
    return server


cdef int let_open(Server server) except -1:
    if server is not None:
        server.elsewhere -= 1
        if server.elsewhere == 0:
            server.say()
            server.standing.finish_opening()
    return 0


@cython.final
cdef class Server:
    """`settings.PoolConfig`'s worth of numbers, already in our units; see topology.py."""

    def __cinit__(self, str name not None, int index, Block counters not None, Turn turn not None,
                  Memory memory not None, ReplyParser parser not None, *, int n_channels=1, uint64_t seed=1,
                  bint has_copies=False, Standing standing=None, **limits):
        self.name = name
        self.index = index
        self.counters = counters
        self.turn = turn
        self.random = seed * 0x9E3779B97F4A7C15U + 1
        self.channels = [Channel(self, memory, counters, turn, parser) for _ in range(n_channels)]
        self.n_channels = n_channels
        self.only = self.channels[0]
        self.has_copies = has_copies
        self.standing = Standing() if standing is None else standing
        self.journal = Journal()
        self.player = Player(self.journal, self.channels, counters, turn)
        self.configure(**limits)
        self.probe_wait_us = self.probe_min_us
        self.take_place()

    def configure(self, *, int64_t request_timeout_us=1_000_000, int failure_limit=3, size_t queue_requests=65536,
                  size_t queue_bytes=64 << 20, int64_t probe_min_us=100_000, int64_t probe_max_us=5_000_000,
                  size_t journal_keys=1_000_000, size_t journal_bytes=64 << 20, Histograms latency=None):
        """What holds from now on; requests under way keep their time."""
        cdef Channel channel
        cdef int64_t last_us = self.deadline()
        for channel in self.channels:
            channel.latency = latency
            if request_timeout_us < self.request_timeout_us:
                channel.mixed_until_us = max(channel.mixed_until_us, last_us)
        self.request_timeout_us = request_timeout_us
        self.failure_limit = failure_limit
        self.queue_requests = queue_requests
        self.queue_bytes = queue_bytes
        self.probe_min_us = probe_min_us
        self.probe_max_us = probe_max_us
        self.journal.max_keys = self.player.played.max_keys = journal_keys
        self.journal.max_bytes = self.player.played.max_bytes = journal_bytes
        self.player.timeout_us = request_timeout_us

    cdef Channel channel(self, const unsigned char *key, size_t length):
        """The way for a key: always the same one."""
        return self.only if self.n_channels == 1 else way(self.channels, key, length)

    cdef bint has_room(self, Channel channel) noexcept:
        """Behaviour section 5: requests waiting for one server. Shared by its channels in equal parts."""
        return (
            channel.count * self.n_channels < self.queue_requests
            and channel.out.length() * self.n_channels < self.queue_bytes
        )

    cdef int64_t deadline(self) noexcept:
        return self.turn.now_us + self.request_timeout_us

    cdef int expire(self) except -1:
        """End the waits that are over; to be called now and then."""
        cdef Channel channel
        cdef int expired = 0
        for channel in self.channels:
            expired += channel.expire()
        if expired and self.up and self.turn.now_us - self.heard_us >= self.request_timeout_us:
            # it is not only slow: nothing has come from it for as long as a request may take
            self.timeouts_in_row += expired
            if self.timeouts_in_row >= self.failure_limit:
                self.go_down(F_TIMED_OUT, f"{self.timeouts_in_row} timeouts in a row")
        return 0

    # Going down

    cdef int take_place(self) except -1:
        """Begin where the worker that had this place before has ended; what it had noted is lost."""
        used, outage, phase, emptied = self.standing.word(self.standing.place)
        self.state = UP
        self.joined = self.standing.outage_now()
        if self.has_copies:
            self.identity = self.standing.identity
            if used and (phase == DOWN or phase == RETURNING):
                self.needs_flush = True
                if self.standing.opened_now() >= self.joined:
                    self.joined = self.standing.begin(self.joined)
            if self.standing.opened_now() < self.joined:
                self.state = DOWN
                self.unsettled = used
                self.emptied = used and emptied and outage == self.joined
        self.up = self.state == UP
        self.counters.slot[S_UP] = self.up
        self.counters.slot[S_STATE] = <uint64_t> GAUGE[self.state]
        return self.say()

    cdef int join(self) except -1:
        """Another worker has begun an outage: so it is ours before we use the server."""
        self.joined = self.standing.outage_now()
        if self.has_copies and self.up:
            return self.fall(F_DOWN, "another worker has found it down")
        return self.say()

    cdef bint clean_for_all(self) except -1:
        """Is nothing old on it? It is UP, or WARMING and no worker's journal is left to be played."""
        return self.readable() or (self.up and self.standing.all_say(self.joined, WARMING))

    cdef bint whole(self) except -1:
        """May it say what another server lacks?"""
        return self.clean_for_all() and (self.state == UP or not self.emptied)

    cdef int missed(self, const unsigned char *key, size_t length) except -1:
        """A write of this key is not certain to be there: to be called before the client hears of the write.

        Callers may stand in the middle of this server's replies: its connections end later, in `tear_down`.
        """
        cdef bint full = self.journal.overflowed
        if not self.has_copies:
            return 0
        if not self.journal.add(key, length) and not full:
            self.counters.slot[S_JOURNAL_OVERFLOWS] += 1
        if self.up:
            self.joined = self.standing.begin(self.joined)
            self.fall(F_RESET, "a write is not certain to have arrived")
        return 0

    cdef int missed_flush(self) except -1:
        if not self.has_copies:
            return 0
        self.journal.flush_missed = True
        if self.up:
            self.joined = self.standing.begin(self.joined)
            self.fall(F_RESET, "a flush_all is not certain to have arrived")
        return 0

    cdef int go_down(self, Failure why, str reason) except -1:
        """Down at once, connections too: not from inside a channel."""
        if self.state == DOWN:
            return 0
        if self.has_copies and self.up:
            self.joined = self.standing.begin(self.joined)
        self.fall(why, reason)
        return self.tear_down()

    cdef int fall(self, Failure why, str reason) except -1:
        """Down from here on; what is under way there ends at the next safe place."""
        if self.up:
            self.counters.slot[S_DOWNS] += 1
            self.probe_wait_us = self.probe_min_us
        else:
            self.probe_wait_us = min(self.probe_wait_us * 2, self.probe_max_us)
        self.timeouts_in_row = 0
        self.clean = self.fresh = self.probing = False
        self.plan_probe()
        self.fallen_why = why
        if not self.fallen:
            self.fallen = True
            self.turn.servers.append(self)
        return self.enter(DOWN, reason)

    cdef int enter(self, State state, str reason) except -1:
        self.state = state
        self.up = state == UP or state == WARMING
        if state == UP and self.loses_copies:
            self.has_copies = self.loses_copies = False
        self.changed_until_us = self.turn.now_us + self.request_timeout_us + GRACE_US
        self.counters.slot[S_UP] = state == UP
        self.counters.slot[S_STATE] = HELD if self.held else <uint64_t> GAUGE[state]
        self.say()
        if self.on_change is not None:
            self.on_change(self, NAMES[state], reason)
        return 0

    cdef int tear_down(self) except -1:
        """Fail what is under way there."""
        cdef Channel channel
        if not self.fallen:
            return 0
        # one that was made while it fell is no probe any more: it ends with the others
        self.fallen = self.probing = False
        for channel in self.channels:
            channel.lost(self.fallen_why, False)
        return self.player.stop()

    # Coming back

    cdef int begin_probe(self) except -1:
        """A fresh connection is being made: who is there?"""
        self.probing = True
        self.counters.slot[S_PROBES] += 1
        return 0

    cdef int probe_failed(self) except -1:
        """Nobody. The caller closes the connection."""
        self.probing = False
        self.counters.slot[S_PROBE_FAILURES] += 1
        self.probe_wait_us = min(self.probe_wait_us * 2, self.probe_max_us)
        self.plan_probe()
        return 0

    cdef void plan_probe(self) noexcept:
        """After the wait, up to a fifth of it early: many proxies must not probe in step."""
        self.random ^= self.random << 13
        self.random ^= self.random >> 7
        self.random ^= self.random << 17
        self.probe_at_us = (
            self.turn.now_us + self.probe_wait_us * 4 // 5
            + <int64_t> (self.random % <uint64_t> (self.probe_wait_us // 5 + 1))
        )

    cdef bint greeted(self, object who) except -1:
        """The first words on a fresh connection (an `Identity`). False: the connection is of no use."""
        cdef uint64_t mark = who.mark
        self.meta = who.meta
        self.keeps_cas = who.keeps_cas
        if who.time_s:
            self.epoch_offset_s = <int64_t> who.time_s - self.turn.now_us // 1_000_000
        if not has_kept_its_data(self.identity, mark):
            self.counters.slot[S_RESTARTS_SEEN] += 1
            self.restarted = self.has_copies
        if mark:
            self.identity = mark
            if self.has_copies:
                self.standing.identity = mark
        if self.state == DOWN:
            if self.held or self.fallen:
                return False
            self.come_back()
        elif self.restarted:
            if self.up:
                self.joined = self.standing.begin(self.joined)
            self.fall(F_RESET, "it was restarted")
            self.probe_at_us = self.turn.now_us
            return False
        return True

    cdef int come_back(self) except -1:
        self.probing = False
        if not self.has_copies:
            return self.enter(UP, "a probe was answered")
        self.play_from_us = self.turn.now_us
        self.fresh = self.restarted
        if self.restarted:
            self.restarted = False
            self.emptied = True
        elif self.unsettled:
            self.play_from_us += SETTLE_US
        return self.enter(RETURNING, "another process answers: it is empty" if self.fresh else "a probe was answered")

    cdef int advance(self) except -1:
        """One more step on the way back, if its time has come; not from inside a channel."""
        if self.standing.outage_now() != self.joined:
            self.join()
        if self.state == RETURNING:
            if self.player.trouble is not None:
                return self.go_down(F_RESET, self.player.trouble)
            if self.turn.now_us < self.play_from_us or (self.lingering and not self.fresh):
                return 0
            if self.player.flushed:
                self.player.flushed = self.needs_flush = False
                self.emptied = True
            if self.needs_flush or self.journal.overflowed or self.journal.flush_missed:
                if self.player.flushing:
                    return self.player.flush_more()
                self.needs_flush = True
                self.journal.clear()
                return self.player.flush()
            self.player.play()
            if self.player.is_done() and self.degraded == 0:
                self.unsettled = False
                self.enter(WARMING, "what it had missed is played")
        elif self.state == WARMING:
            self.refill()
            if self.clean and self.live_places is not None:
                self.lead()
            if self.clean:
                self.try_open()
        return self.say()

    cdef int try_open(self) except -1:
        """The outage is over for all workers, which take it for an authority from the same moment on."""
        self.standing.finish_opening()
        if self.standing.opened_now() < self.joined:
            return 0
        self.emptied = self.clean = False
        return self.enter(UP, "it is open for all workers")

    cdef bint is_about_to_open(self) noexcept:
        """Asked behind `keep_closed`: has that come too late?"""
        return self.standing.is_opening() or self.standing.opened_now() >= self.joined

    cdef int refill(self) except -1:
        """Offer what was played to whoever can fetch it from the other holder."""
        cdef bytes key
        if self.emptied or self.on_played is None:
            self.player.played.clear()
        for _ in range(REFILL_WINDOW):
            # no more in one go either: where the other holder is out, each of them ends at once
            if self.refilling >= REFILL_WINDOW:
                return 0
            key = self.player.next_played()
            if key is None:
                self.clean = self.clean or self.refilling == 0
                return 0
            self.on_played(self, key)
        return 0

    cdef int lead(self) except -1:
        """No supervisor is there: the workers that live agree by their words when the outage is over."""
        live = self.live_places()
        if self.turn.now_us < self.open_again_us:
            return 0
        for place in range(self.standing.n_places):
            used, outage, phase, _ = self.standing.word(place)
            if place in live:
                if outage != self.joined or phase != WARMING:
                    return 0
            elif used and (phase == DOWN or phase == RETURNING):
                # what the dead one had noted is lost, and nobody takes its place
                if self.standing.place == min(live):
                    self.standing.bury(place)
                    self.needs_flush = True
                    self.clean = False
                    self.enter(RETURNING, "a worker has died with its journal")
                return 0
            else:
                self.standing.forget_elsewhere(place)
        self.open_again_us = self.turn.now_us + OPEN_AGAIN_US
        return self.standing.open(self.joined)

    cdef int say(self) except -1:
        """Write this worker's word, which others may act on."""
        cdef int phase = self.state
        if not self.has_copies and phase == UP and self.standing.opened_now() < self.joined:
            phase = WARMING
        elif phase == WARMING and not self.clean:
            phase = RETURNING
        return self.standing.say(self.joined, phase, self.emptied, self.elsewhere != 0)

    # What operators ask for

    def hold(self, str reason not None):
        """No new requests and no probes; what is under way there finishes."""
        if self.held:
            return
        self.held = True
        if self.state == RETURNING:
            self.go_down(F_DOWN, reason)
            return
        if self.up:
            self.joined = self.standing.begin(self.joined)
        self.clean = self.probing = False
        self.enter(DOWN, reason)

    def release(self):
        """Back, by the way of any server that was down."""
        self.held = self.probing = False  # a connection that was being made when it was held counts as a probe
        self.counters.slot[S_STATE] = <uint64_t> GAUGE[self.state]
        self.probe_wait_us = self.probe_min_us
        self.probe_at_us = self.turn.now_us

    def set_copies(self, bint has_copies):
        """Its keys are on another server too from now on, or no more; what it has missed is played all the same."""
        self.loses_copies = False
        if has_copies == self.has_copies:
            return
        if not has_copies:
            if self.state == UP:
                self.has_copies = False
                self.say()
            else:
                self.loses_copies = True
            return
        self.has_copies = True
        if self.identity:
            self.standing.identity = self.identity
        if self.state == DOWN:
            self.unsettled = True
            self.joined = self.standing.begin(self.joined)
            self.say()
        elif self.standing.opened_now() < self.standing.outage_now():
            self.joined = self.standing.outage_now()
            self.play_from_us = self.turn.now_us
            self.enter(RETURNING, "its keys are on another server too from now on")

    def become_another(self, bint keep_data):
        """Another machine has its name from now on; what that has is not known."""
        self.go_down(F_DOWN, "it was replaced")
        self.identity = 0
        self.standing.identity = 0
        self.unsettled = self.restarted = False
        self.emptied = self.has_copies
        self.needs_flush = self.has_copies and not keep_data
        self.probe_wait_us = self.probe_min_us
        self.probe_at_us = self.turn.now_us

    def owe_flush(self, str reason not None):
        """It may have what it must not have: flush it before it is used again."""
        if not self.has_copies:
            return
        self.needs_flush = True
        if self.up:
            self.go_down(F_DOWN, reason)

    # The Python face, for tests.

    @property
    def is_readable(self):
        return bool(self.readable())

    @property
    def is_following(self):
        return bool(self.follows())

    @property
    def is_probing(self):
        return bool(self.probing)

    @property
    def state_name(self):
        return NAMES[self.state]

    def miss(self, bytes key not None):
        self.missed(key, len(key))

    def miss_flush(self):
        self.missed_flush()

    def end_connections(self):
        self.tear_down()

    def pass_time(self):
        """End the waits that are over at turn.now_us, and go on with the return."""
        self.expire()
        self.advance()

    def fail(self, str reason not None):
        """No connection can be made."""
        self.go_down(F_REFUSED, reason)

    def ask_probe(self):
        self.begin_probe()

    def fail_probe(self):
        self.probe_failed()

    def greet(self, who not None):
        return bool(self.greeted(who))

    def hear(self):
        """A reply has come: timeouts before it are not in a row with those behind it."""
        self.timeouts_in_row = 0
