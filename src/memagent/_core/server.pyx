"""A memcached server as this worker sees it: ways to it, and whether it is up.

            refused, lost and not re-made, `failure_limit` timeouts in a row
     ┌────┐ ───────────────────────────────────────────────────────────────▶ ┌──────┐
     │ up │                                                                  │ down │ ⟲ probe: backoff with jitter,
     └────┘ ◀─────────────────────────────────────────────────────────────── └──────┘   probe_min_ms to probe_max_ms
                              a probe on a fresh connection is answered

Invariants (behaviour section 3):
- While a server is down it has no ticket but a probe's: no request ever waits for it.
- A key always takes the same channel, so that two requests for it arrive in their order.
"""

cimport cython
from libc.stdint cimport int64_t, uint32_t, uint64_t

from memagent._core.buffer cimport Memory
from memagent._core.channel cimport F_DOWN, F_REFUSED, F_RESET, F_TIMED_OUT, Awaiting, Channel, Failure
from memagent._core.metrics cimport (
    Block,
    S_DOWNS,
    S_PROBE_FAILURES,
    S_PROBES,
    S_UP,
)
from memagent._core.reply cimport E_VERSION, R_VERSION, Code, ReplyParser
from memagent._core.standing cimport Standing
from memagent._core.turn cimport Turn


@cython.final
cdef class Server:
    """`pool` is a settings.PoolConfig's worth of numbers, already in our units; see worker.py."""

    def __cinit__(self, str name not None, int index, Block counters not None, Turn turn not None,
                  Memory memory not None, ReplyParser parser not None, *, int n_channels=1,
                  int64_t request_timeout_us=1_000_000, int failure_limit=3, size_t queue_requests=65536,
                  size_t queue_bytes=64 << 20, int64_t probe_min_us=100_000, int64_t probe_max_us=5_000_000,
                  uint64_t seed=1, bint has_copies=False, Standing standing=None):
        self.name = name
        self.index = index
        self.counters = counters
        self.turn = turn
        self.memory = memory
        self.request_timeout_us = request_timeout_us
        self.failure_limit = failure_limit
        self.queue_requests = queue_requests
        self.queue_bytes = queue_bytes
        self.probe_min_us = probe_min_us
        self.probe_max_us = probe_max_us
        self.probe_wait_us = probe_min_us
        self.random = seed * 0x9E3779B97F4A7C15U + 1
        self.channels = [Channel(self, memory, counters, turn, parser, request_timeout_us) for _ in range(n_channels)]
        self.n_channels = n_channels
        self.only = self.channels[0]
        self.has_copies = has_copies
        self.standing = Standing() if standing is None else standing
        self.joined = self.standing.outage_now()
        self.journal = set()
        self.up = True
        self.counters.slot[S_UP] = 1

    cdef int join(self) except -1:
        """Another worker has taken it down: so do we, before we use it."""
        self.joined = self.standing.outage_now()
        if self.state == UP or self.state == WARMING:
            self.fall(F_DOWN, "another worker found it down")
        return 0

    cdef int missed(self, const unsigned char *key, size_t length) except -1:
        """A write of this key is not certain to be there: to be called before the client hears of the write.

        Callers may stand in the middle of this server's replies: its connections end later, in `tear_down`.
        """
        if not self.has_copies:
            return 0
        self.journal.add(key[:length])
        if self.up:
            self.joined = self.standing.begin(self.joined)
            self.fall(F_RESET, "a write is not certain to have arrived")
        return 0

    cdef int missed_flush(self) except -1:
        if not self.has_copies:
            return 0
        self.flush_missed = True
        if self.up:
            self.joined = self.standing.begin(self.joined)
            self.fall(F_RESET, "a flush_all is not certain to have arrived")
        return 0

    cdef int fall(self, Failure why, str reason) except -1:
        """Down from here on; what is under way there ends at the next safe place."""
        self.state = DOWN
        self.up = False
        self.counters.slot[S_UP] = 0
        self.counters.slot[S_DOWNS] += 1
        self.timeouts_in_row = 0
        self.probe_wait_us = self.probe_min_us
        self.plan_probe()
        self.fallen_why = why
        self.fallen = True
        self.turn.servers.append(self)
        if self.on_change is not None:
            self.on_change(self, False, reason)
        return 0

    cdef int tear_down(self) except -1:
        """Fail what is under way there."""
        cdef Channel channel
        if not self.fallen:
            return 0
        self.fallen = False
        for channel in self.channels:
            channel.lost(self.fallen_why, False)
        return 0

    cdef Channel channel(self, const unsigned char *key, size_t length):
        """The way for a key: always the same one."""
        cdef uint32_t h = 2166136261U
        cdef size_t i
        if self.n_channels == 1:
            return self.only
        for i in range(length):
            h = (h ^ key[i]) * 16777619U
        return <Channel> self.channels[(h ^ h >> 16) % self.n_channels]

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

    cdef int go_down(self, Failure why, str reason) except -1:
        """Down at once, connections too: not from inside a channel."""
        if not self.up:
            return 0
        if self.has_copies:
            self.joined = self.standing.begin(self.joined)
        self.fall(why, reason)
        return self.tear_down()

    cdef int go_up(self) except -1:
        if self.up:
            return 0
        self.state = UP
        self.up = True
        self.probing = False
        if self.has_copies:
            self.journal.clear()
            self.standing.open(self.joined)
        self.counters.slot[S_UP] = 1
        self.timeouts_in_row = 0
        if self.on_change is not None:
            self.on_change(self, True, "a probe was answered")
        return 0

    cdef int probe(self) except -1:
        """Ask on the first channel, whose connection is fresh, whether anybody answers."""
        self.probing = True
        self.counters.slot[S_PROBES] += 1
        self.only.append(b"version\r\n", 9)
        self.only.ticket(Probe(self), 0, E_VERSION, self.deadline())
        return 0

    cdef int probe_failed(self) except -1:
        """Nobody did. The caller closes the connection."""
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

    # The Python face, for tests.

    @property
    def is_readable(self):
        return bool(self.readable())

    @property
    def is_following(self):
        return bool(self.follows())

    def miss(self, bytes key not None):
        self.missed(key, len(key))

    def miss_flush(self):
        self.missed_flush()

    def end_connections(self):
        self.tear_down()

    def pass_time(self):
        """End the waits that are over at turn.now_us."""
        self.expire()

    def fail(self, str reason not None):
        """No connection can be made."""
        self.go_down(F_REFUSED, reason)

    def ask_probe(self):
        self.probe()

    def hear(self):
        """A reply has come: timeouts before it are not in a row with those behind it."""
        self.timeouts_in_row = 0

    @property
    def is_probing(self):
        return bool(self.probing)


@cython.final
cdef class Probe(Awaiting):
    def __cinit__(self, Server server not None):
        self.server = server

    cdef int replied(self, uint32_t part, Code code, const unsigned char *p, size_t n, ReplyParser parser) except -1:
        if code == R_VERSION:
            self.server.go_up()
            return 0
        return 1

    cdef int failed(self, uint32_t part, Failure why, bint sent) except -1:
        if self.server.probing:
            self.server.probe_failed()
        return 0
