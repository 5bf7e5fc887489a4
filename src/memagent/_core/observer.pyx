# cython: cdivision=True
"""What is looked at of single requests: hot keys, slow requests, what taps want to see.

    a request begins ─▶ ahead: is it one of the few? ───────▶ sample ─▶ HotKeys       (hot.pyx)
    a request ends ───▶ least_us: was it slow? any taps? ───▶ saw ──┬─▶ the slow log  (sighting.pyx)
                                                                    └─▶ what taps see

Invariants:
- Where nothing is to be done a request costs a subtraction and two comparisons, which go the same way every time.
- How much is looked at is bounded by time, however many requests there are: so many samples, slow ones and sightings of a
  tap a second. What is left out is counted.
- Everything goes into shared memory, which the supervisor reads: a worker neither sends nor waits.
- What is in requests and replies is not changed, and never a value looked at.
"""

cimport cython
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy

from memagent._core.exchange cimport Exchange
from memagent._core.hot cimport HotKeys
from memagent._core.latency cimport NOT_TIMED
from memagent._core.multiget cimport MultiGet
from memagent._core.mutation cimport Mutation
from memagent._core.pool cimport Pool
from memagent._core.request cimport V_FLUSH_ALL, V_GATS, verb_name
from memagent._core.retrieval cimport Retrieval
from memagent._core.server cimport Server
from memagent._core.sighting cimport (
    AGAIN,
    COPY,
    FAILOVER,
    FALLBACK,
    MOST_TAPS,
    NAME_BYTES,
    ONE_STEP,
    REPAIR,
    RESULT_BYTES,
    Sighting,
    Sightings,
    Step,
)
from memagent._core.turn cimport Turn

__all__ = ["Observer", "Tap", "verbs"]

cdef enum:
    SAMPLES_PER_S = 1000
    PACE_SAMPLES = 128       # after so many,
    PACE_US = 500_000        # or so long, it is seen how many samples a second that is
    MOST_EVERY = 4096
    SLOW_PER_S = 100
    BURST_SHARE = 4          # so much of a second's budget may be spent at once

cdef int64_t NEVER_US = 1LL << 62


def verbs():
    """The names of those that a tap can ask for."""
    return tuple(verb_name(verb).decode() for verb in range(V_FLUSH_ALL + 1))


cdef inline bint spend(Budget *budget, int64_t now_us) noexcept:
    cdef double most = max(1.0, budget.per_s / BURST_SHARE)
    budget.left = min(most, budget.left + (now_us - budget.at_us) * 1e-6 * budget.per_s)
    budget.at_us = now_us
    if budget.left < 1:
        return False
    budget.left -= 1
    return True


@cython.final
cdef class Tap:
    """Of requests about keys with this prefix, at this server, with this verb: so many a second at most."""

    def __cinit__(self, uint64_t number, bytes prefix not None, int server, str verb, double per_s):
        self.number = number
        self.prefix = prefix
        self.server = server
        self.verb = -1 if not verb else verbs().index(verb)
        self.budget.per_s = self.budget.left = per_s

    cdef Py_ssize_t find(self, Exchange exchange) except -2:
        """The request's first key that is wanted, by its place; -1 if there is none."""
        cdef const char *prefix = self.prefix
        cdef size_t wanted = len(self.prefix)
        cdef size_t length = 0
        cdef const unsigned char *key
        cdef Server server
        cdef uint32_t i
        if self.verb >= 0 and self.verb != <int> exchange.verb:
            return -1
        for i in range(n_keys_of(exchange)):
            if wanted:
                key = key_of(exchange, i, &length)
                if length < wanted or memcmp(key, prefix, wanted) != 0:
                    continue
            if self.server >= 0:
                server = server_of(exchange, i)
                if server is None or server.index != self.server:
                    continue
            return i
        return 0 if n_keys_of(exchange) == 0 and not wanted and self.server < 0 else -1


@cython.final
cdef class Observer:
    """Of one worker. What `hot`, `slow` and `tapped` are not given for is not looked at; `seed`: any number."""

    def __cinit__(self, Turn turn not None, HotKeys hot=None, Sightings slow=None, Sightings tapped=None, *,
                  uint64_t seed=1):
        self.turn = turn
        self.hot = hot
        self.slow = slow
        self.tapped = tapped
        self.taps = []
        self.every = 1
        self.random = seed | 1
        self.budget.per_s = self.budget.left = SLOW_PER_S
        self.ahead = NEVER_US
        self.slow_us = self.least_us = NEVER_US
        if hot is not None and hot.table.since_us:
            hot.clear(0)

    def configure(self, *, bint hot_keys=False, int64_t slow_us=0):
        """What holds from now on; `slow_us` 0: nothing is slow."""
        if hot_keys != self.finds_hot and self.hot is not None:
            self.finds_hot = hot_keys
            self.hot.clear(max(1, self.turn.now_us) if hot_keys else 0)
            self.every = 1
            self.n_looked = 0
            self.paced_us = self.turn.now_us
            self.ahead = self.draw() if hot_keys else NEVER_US
        self.slow_us = slow_us if slow_us > 0 and self.slow is not None else NEVER_US
        self.least_us = 0 if self.taps else self.slow_us

    def tap(self, list taps not None):
        """From now on there are these; those that were there already go on."""
        cdef dict known = {tap.number: tap for tap in self.taps}
        cdef list kept = [known.get(tap.number, tap) for tap in taps[:MOST_TAPS]]
        cdef set free = set(range(MOST_TAPS)) - {tap.place for tap in kept if tap.number in known}
        cdef Tap tap
        if self.tapped is None:
            return
        for tap in kept:
            if tap.number not in known:
                tap.place = free.pop()
                tap.budget.at_us = self.turn.now_us
                self.tapped.head.tallies[tap.place].matched = 0
                self.tapped.head.tallies[tap.place].tap = tap.number
        self.taps = kept
        self.least_us = 0 if self.taps else self.slow_us

    # ---------------------------------------------------------------- hot keys

    cdef int sample(self, Exchange exchange) except -1:
        """Of a request's keys those whose turn it is; `ahead` has them all behind it."""
        cdef uint32_t n_keys = n_keys_of(exchange)
        cdef int64_t i = n_keys + self.ahead - 1
        cdef bint is_write = isinstance(exchange, Mutation)
        cdef const unsigned char *key
        cdef Server server
        cdef size_t length = 0
        while 0 <= i < n_keys:
            key = key_of(exchange, <uint32_t> i, &length)
            server = server_of(exchange, <uint32_t> i)
            self.hot.count(key, length, is_write, -1 if server is None else server.index, self.drawn, self.turn.now_us)
            self.n_looked += 1
            if self.n_looked >= PACE_SAMPLES:
                self.pace()
            i += self.draw()
        self.ahead = i - n_keys + 1
        return 0

    cdef int64_t draw(self) noexcept:
        """How many keys on the next one is that is looked at: by chance, or a client's rhythm could hide what it does."""
        self.random ^= self.random << 13
        self.random ^= self.random >> 7
        self.random ^= self.random << 17
        self.drawn = self.every
        return 1 + <int64_t> (self.random >> 16) % (2 * <int64_t> self.every - 1)

    cdef void pace(self) noexcept:
        """All keys are looked at when they are few, and fewer and fewer of many."""
        cdef double past_us = max(1, self.turn.now_us - self.paced_us)
        cdef double every = self.every * (max(1, self.n_looked) * 1e6 / (past_us * SAMPLES_PER_S))
        # upwards in steps, because a batch says little about what comes behind it
        every = min(every, self.every * 4.0)
        self.every = <uint32_t> min(max(every, 1.0), <double> MOST_EVERY)
        self.n_looked = 0
        self.paced_us = self.turn.now_us

    cdef void tick(self) noexcept:
        """To be called now and then. When requests have become few, the one that was drawn may be far ahead."""
        cdef int64_t ahead = self.ahead
        cdef uint32_t drawn = self.drawn
        if not self.finds_hot or self.turn.now_us - self.paced_us < PACE_US:
            return
        self.pace()
        self.ahead = self.draw()
        if ahead <= self.ahead:
            self.ahead = ahead
            self.drawn = drawn

    # ---------------------------------------------------------------- slow ones, taps

    cdef int saw(self, Exchange exchange, object connection, const unsigned char *reply, size_t n) except -1:
        """A request has ended; `reply` is NULL: its client has gone before that."""
        cdef int64_t now_us = self.turn.now_us
        cdef Tap tap
        cdef Py_ssize_t i
        if exchange.timed_as == NOT_TIMED:
            return 0
        if now_us - exchange.started_us >= self.slow_us:
            if spend(&self.budget, now_us):
                self.note(self.slow, 0, exchange, waited_for(exchange), connection, reply, n)
            else:
                self.slow.head.dropped += 1
        for tap in self.taps:
            i = tap.find(exchange)
            if i < 0:
                continue
            self.tapped.head.tallies[tap.place].matched += 1
            if spend(&tap.budget, now_us):
                self.note(self.tapped, tap.number, exchange, <uint32_t> i, connection, reply, n)
        return 0

    cdef int note(self, Sightings where, uint64_t tap, Exchange exchange, uint32_t i, object connection,
                  const unsigned char *reply, size_t n) except -1:
        """What there is to see, of key i above all."""
        # everything that may fail comes first: what is begun is ended
        cdef bytes client = b"" if connection is None else connection.peer()
        cdef Server server = server_of(exchange, i)
        cdef Server before = None
        cdef Step step = ONE_STEP
        cdef size_t length = 0
        cdef const unsigned char *key = key_of(exchange, i, &length)
        cdef bytes name
        cdef bytes name_before = b""
        cdef bytes result = word_of(exchange, reply, n)
        cdef Sighting *sighting
        if exchange.stepped_us:
            step = step_of(exchange, i)
            if step == COPY or (step == FAILOVER and is_switched(exchange)):
                before = server
                server = (<Mutation> exchange).follower
            elif step == AGAIN or step == REPAIR:
                before = server
            elif step != ONE_STEP:
                before = other_of(exchange, key, length, server)
        name = b"" if server is None else server.name.encode("utf-8", "replace")
        if before is not None:
            name_before = before.name.encode("utf-8", "replace")
        sighting = where.begin()
        sighting.tap = tap
        sighting.ended_us = self.turn.now_us
        sighting.took_us = self.turn.now_us - exchange.started_us
        if step != ONE_STEP:
            sighting.first_us = exchange.stepped_us - exchange.started_us
        sighting.n_keys = n_keys_of(exchange)
        sighting.n_found = n_found_of(exchange, reply, n)
        sighting.verb = <uint8_t> exchange.verb
        sighting.step = <uint8_t> step
        sighting.length = <uint8_t> length
        memcpy(sighting.key, key, length)
        put(sighting.result, RESULT_BYTES, result)
        put(sighting.client, NAME_BYTES, client)
        put(sighting.server, NAME_BYTES, name)
        put(sighting.before, NAME_BYTES, name_before)
        where.end(sighting)
        return 0

    # For tests.

    @property
    def looks_at_one_in(self):
        return self.every


cdef void put(char *target, size_t size, bytes text) noexcept:
    memcpy(target, <const char *> text, min(size, <size_t> len(text)))


# What is known of a request by its kind.

cdef uint32_t n_keys_of(Exchange exchange) noexcept:
    if isinstance(exchange, MultiGet):
        return (<MultiGet> exchange).n_keys
    return isinstance(exchange, Retrieval) or isinstance(exchange, Mutation)


cdef const unsigned char *key_of(Exchange exchange, uint32_t i, size_t *length) except? NULL:
    """Key i; empty where there is none."""
    cdef MultiGet multiget
    if isinstance(exchange, Retrieval):
        length[0] = (<Retrieval> exchange).key_length
        return (<Retrieval> exchange).key
    if isinstance(exchange, Mutation):
        length[0] = (<Mutation> exchange).key_length
        return <const unsigned char *> (<Mutation> exchange).key
    length[0] = 0
    if isinstance(exchange, MultiGet):
        multiget = <MultiGet> exchange
        length[0] = multiget.wanted[i].length
        return multiget.text + multiget.wanted[i].start
    return b""


cdef Server server_of(Exchange exchange, uint32_t i):
    """Who was asked for key i, or would have been; None: nobody, or everybody."""
    cdef Server server = None
    cdef int part
    if isinstance(exchange, Retrieval):
        server = (<Retrieval> exchange).server
        return (<Retrieval> exchange).owner if server is None else server
    if isinstance(exchange, Mutation):
        server = (<Mutation> exchange).authority
        return (<Mutation> exchange).owner if server is None else server
    if isinstance(exchange, MultiGet):
        part = (<MultiGet> exchange).wanted[i].part
        if part >= 0:
            server = <Server> (<MultiGet> exchange).servers[part]
    return server


cdef uint32_t waited_for(Exchange exchange) noexcept:
    """A key that was waited for longest, by its place."""
    cdef MultiGet multiget
    cdef uint32_t i
    if not isinstance(exchange, MultiGet):
        return 0
    multiget = <MultiGet> exchange
    for i in range(multiget.n_parts):
        if not multiget.parts[i].done:
            return multiget.parts[i].first_key
    return multiget.parts[multiget.last_part].first_key if multiget.n_parts else 0


cdef bint is_switched(Exchange exchange) noexcept:
    """Has the follower answered in the place of the authority, which it was told together with?"""
    return isinstance(exchange, Mutation) and (<Mutation> exchange).switched


cdef Step step_of(Exchange exchange, uint32_t i) noexcept:
    """What came after the first server, where anything came."""
    cdef Retrieval retrieval
    cdef Mutation mutation
    cdef MultiGet multiget
    if isinstance(exchange, Retrieval):
        retrieval = <Retrieval> exchange
        if retrieval.missed_by is not None or (retrieval.asked is not None and retrieval.asked.vivifies):
            return FALLBACK
        return FAILOVER if retrieval.second_asked else AGAIN
    if isinstance(exchange, Mutation):
        mutation = <Mutation> exchange
        if mutation.repaired_before:
            return REPAIR
        if mutation.own_reply is not None and not mutation.switched and mutation.follower is not None:
            return COPY
        return FAILOVER
    if isinstance(exchange, MultiGet):
        multiget = <MultiGet> exchange
        if multiget.wanted[i].missed:
            return FALLBACK
        return FAILOVER if multiget.wanted[i].again else ONE_STEP if not multiget.watches else AGAIN
    return ONE_STEP


cdef Server other_of(Exchange exchange, const unsigned char *key, size_t length, Server server):
    """The other server of a key that `server` has answered for."""
    cdef Pool pool
    cdef Server owner
    cdef Server copy
    cdef int owner_index
    if isinstance(exchange, Retrieval):
        pool = (<Retrieval> exchange).pool
    elif isinstance(exchange, Mutation):
        pool = (<Mutation> exchange).pool
    else:
        pool = (<MultiGet> exchange).pool
    owner_index = pool.owner_index
    owner = pool.owner(key, length)
    copy = pool.copy(key, length)
    # who is in the middle of something counts on it
    pool.owner_index = owner_index
    return copy if server is owner else owner


cdef uint32_t n_found_of(Exchange exchange, const unsigned char *reply, size_t n) noexcept:
    """How many of the keys of a get have an item."""
    cdef MultiGet multiget
    cdef uint32_t found = 0
    cdef uint32_t i
    if isinstance(exchange, MultiGet):
        multiget = <MultiGet> exchange
        for i in range(multiget.n_keys):
            found += multiget.wanted[i].item_length != 0
        return found
    # VALUE, VA, HD, ME
    return isinstance(exchange, Retrieval) and n > 0 and (reply[0] == 86 or reply[0] == 72 or reply[0] == 77)


cdef bytes word_of(Exchange exchange, const unsigned char *reply, size_t n):
    """What came of it, in a word: the reply's first one but for a get's, and for numbers, which are values."""
    cdef size_t length = 0
    if reply == NULL:
        return b"client left"
    while length < min(n, <size_t> RESULT_BYTES) and (65 <= reply[length] <= 90 or reply[length] == 95):
        length += 1
    if length == 0:
        return b"NUMBER"
    if exchange.verb <= V_GATS:
        if length == 5 and memcmp(reply, b"VALUE", 5) == 0:
            return b"HIT"
        if length == 3 and memcmp(reply, b"END", 3) == 0:
            return b"MISS"
    return (<const char *> reply)[:length]
