"""Servers, backups and the rings over them: which servers a key is on, and which of them decides (behaviour section 1).

    key ─▶ owner (ring of the servers) and at most one copy (ring of the backups, or the next server: copies: 2)
             │
             ├─ authority: decides and answers. The owner where it may be read, else the copy
             └─ follower: the other one. It gets the effect of a write, or, while it is out, the key goes into its journal

Invariants:
- Owner and copy differ only in who is preferred: whichever is whole is the authority.
- A server that came back is no authority before it is whole, unless nothing better lives; and never before it is clean.
"""

from collections import deque
from heapq import heappop, heappush

cimport cython
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memset

from memagent._core.cas cimport GLOBAL_CAS
from memagent._core.channel cimport Awaiting
from memagent._core.latency cimport NOT_TIMED, Histograms
from memagent._core.marks cimport Marks
from memagent._core.ring cimport Placement
from memagent._core.server cimport Server

cdef enum:
    SLOW_US = 50_000     # a first step that took less leaves time for a second one
    GRACE_US = 200_000   # for the second step, when the first has used the time up
    PAUSE_US = 10_000

_FALLBACKS = {"always": ALWAYS, "warming": WHILE_WARMING, "never": NEVER}


cdef class Hurried(Awaiting):
    cdef int too_late(self) except -1:
        """The time has come: answer with what is known."""
        raise NotImplementedError

    cdef int resume(self) except -1:
        """The pause is over."""
        raise NotImplementedError


@cython.final
cdef class Pool:
    """`servers` and `backups` stand in the order of the configuration, which is the order that `placement` counts in.

    `marks` are shared with the other workers. `epoch_us` is the unix time of turn.now_us == 0, `worker` the
    number of this worker: both make cas uniques unique. `latencies`: a histogram for each class of verbs.
    """

    def __cinit__(self, str name not None, list servers not None, list backups not None, Placement placement not None, *,
                  Marks marks=None, int64_t epoch_us=0, int worker=0, **settings):
        self.name = name
        self.marks = Marks() if marks is None else marks
        self.configure(servers, backups, placement, **settings)
        self.cas_base = (<uint64_t> epoch_us << 10) + (worker & 1023)
        memset(self.ordered, 0, sizeof(self.ordered))
        self.hurried = []
        self.repairing = set()
        self.refills = deque()
        self.paused = deque()
        self.doubted = {}

    def configure(self, list servers not None, list backups not None, Placement placement not None, *,
                  bint has_copies=False, bint miss_when_down=True, int64_t multiget_deadline_us=0,
                  str fallback not None="always", str acknowledge not None="owner", int64_t repair_ttl_s=60,
                  Histograms latencies=None):
        """What holds from now on. Who is under way stays with the servers that it has chosen."""
        if latencies is not None and latencies.n < NOT_TIMED:
            raise ValueError(f"{latencies.n} histograms for {NOT_TIMED} classes of verbs")
        self.servers = servers
        self.backups = backups
        self.placement = placement
        self.has_copies = has_copies
        self.miss_when_down = miss_when_down
        self.multiget_deadline_us = multiget_deadline_us
        self.fallback = _FALLBACKS[fallback]
        self.acknowledge_all = acknowledge == "all"
        self.repair_ttl_s = repair_ttl_s
        self.latencies = latencies

    cdef Server owner(self, const unsigned char *key, size_t length):
        self.owner_index = self.placement.owner(key, length)
        return <Server> self.servers[self.owner_index]

    cdef Server copy(self, const unsigned char *key, size_t length):
        """The other server of the key that `owner` was just asked for; None if there is none."""
        cdef int index
        if not self.has_copies:
            return None
        index = self.placement.copy(key, length, self.owner_index)
        if index < 0:
            return None
        return <Server> (self.backups[index] if self.backups else self.servers[index])

    cdef Server authority(self, Server owner, Server copy):
        """Who decides about a key now; None if neither can be asked. Not whole beats not there; not clean does not."""
        if owner.readable():
            return owner
        if copy is None:
            return owner if owner.clean_for_all() else None
        if copy.readable():
            return copy
        if owner.clean_for_all() and (not owner.emptied or not copy.clean_for_all()):
            return owner
        return copy if copy.clean_for_all() else None

    cdef uint64_t new_cas(self, int64_t now_us) noexcept:
        """A cas unique that no proxy has given before: microseconds since 1970 and the worker."""
        cdef uint64_t cas = self.cas_base + (<uint64_t> now_us << 10)
        if cas <= self.last_cas:
            cas = self.last_cas + 1024
        self.last_cas = cas
        return cas & (GLOBAL_CAS - 1) | GLOBAL_CAS

    cdef int hurry(self, Hurried exchange, int64_t started_us, Server server) except -1:
        """The next step of a request that has taken long: it must end soon after the time of one step is over."""
        cdef int64_t now_us = server.turn.now_us
        if now_us - started_us < SLOW_US or exchange.due_us:
            return 0
        self.n_hurried += 1
        exchange.due_us = started_us + server.request_timeout_us + GRACE_US
        heappush(self.hurried, (exchange.due_us, self.n_hurried, exchange))
        return 0

    cdef int pause(self, Hurried waiting) except -1:
        """Another worker may be done in a moment: `waiting.resume` is called then."""
        self.paused.append(((<Server> self.servers[0]).turn.now_us + PAUSE_US, waiting))
        return 0

    cdef int expire(self, int64_t now_us) except -1:
        """End what has taken too long, go on with what was paused; to be called now and then."""
        while self.paused and <int64_t> self.paused[0][0] <= now_us:
            (<Hurried> self.paused.popleft()[1]).resume()
        while self.hurried and <int64_t> self.hurried[0][0] <= now_us:
            (<Hurried> heappop(self.hurried)[2]).too_late()
        return 0

    cdef bint waits(self) noexcept:
        """Is there anything that time brings?"""
        return len(self.hurried) > 0 or len(self.paused) > 0

    def place(self, bytes key not None):
        """For tests: (owner, copy or None)."""
        owner = self.owner(key, len(key))
        return owner, self.copy(key, len(key))
