"""Servers, backups and the rings over them: which servers a key is on, and which of them decides (behaviour section 1).

    key ─▶ owner (ring of the servers) and at most one copy (ring of the backups, or the next server: copies: 2)
             │
             ├─ authority: decides and answers. The owner where it may be read, else the copy
             └─ follower: the other one. It gets the effect of a write, or, while it is out, the key goes into its journal

While keys of a pool without copies move to other rings, a key that changes servers has two, as if it had a copy (ring.pyx).
With `only_mirrors` the second one may have what is old, or not be as far: it gets all writes, and nobody believes it.

Invariants:
- Owner and copy differ only in who is preferred: whichever is whole is the authority.
- A server that came back is no authority before it is whole, unless nothing better lives; and never before it is clean.
"""

from collections import deque

cimport cython
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memset

from memagent._core.cas cimport GLOBAL_CAS
from memagent._core.latency cimport NOT_TIMED, Histograms
from memagent._core.marks cimport Marks
from memagent._core.ring cimport Placement
from memagent._core.server cimport Server
from memagent._core.timers cimport Timers

_FALLBACKS = {"always": ALWAYS, "warming": WHILE_WARMING, "never": NEVER}


@cython.final
cdef class Pool:
    """`servers` and `backups` stand in the order of the configuration, which is the order that `placement` counts in.

    `timers` are those of all pools of the worker; `marks` are shared with the other workers. `epoch_us` is the unix
    time of turn.now_us == 0, `worker` the number of this worker: both make cas uniques unique. `latencies`: a histogram
    for each class of verbs.
    """

    def __cinit__(self, str name not None, list servers not None, list backups not None, Placement placement not None, *,
                  Timers timers=None, Marks marks=None, int64_t epoch_us=0, int worker=0, **settings):
        self.name = name
        self.timers = Timers((<Server> servers[0]).turn) if timers is None else timers
        self.marks = Marks() if marks is None else marks
        self.configure(servers, backups, placement, **settings)
        self.cas_base = (<uint64_t> epoch_us << 10) + (worker & 1023)
        memset(self.ordered, 0, sizeof(self.ordered))
        self.repairing = set()
        self.refills = deque()
        self.doubted = {}

    def configure(self, list servers not None, list backups not None, Placement placement not None, *,
                  bint has_copies=False, bint only_mirrors=False, bint miss_when_down=True, int64_t multiget_deadline_us=0,
                  str fallback not None="always", str acknowledge not None="owner", int64_t repair_ttl_s=60,
                  Histograms latencies=None):
        """What holds from now on. Who is under way stays with the servers that it has chosen."""
        if latencies is not None and latencies.n < NOT_TIMED:
            raise ValueError(f"{latencies.n} histograms for {NOT_TIMED} classes of verbs")
        self.servers = servers
        self.backups = backups
        self.placement = placement
        self.has_copies = has_copies
        self.only_mirrors = only_mirrors
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
        if copy is None or self.only_mirrors:
            return owner if owner.clean_for_all() else None
        if copy.readable():
            return copy
        if owner.clean_for_all() and (not owner.emptied or not copy.clean_for_all()):
            return owner
        return copy if copy.clean_for_all() else None

    cdef bint may_answer(self, Server second) except -1:
        """The preferred one of a key's servers does not: may the other one, for once?"""
        return not self.only_mirrors and second.clean_for_all()

    cdef uint64_t new_cas(self, int64_t now_us) noexcept:
        """A cas unique that no proxy has given before: microseconds since 1970 and the worker."""
        cdef uint64_t cas = self.cas_base + (<uint64_t> now_us << 10)
        if cas <= self.last_cas:
            cas = self.last_cas + 1024
        self.last_cas = cas
        return cas & (GLOBAL_CAS - 1) | GLOBAL_CAS

    def place(self, bytes key not None):
        """For tests: (owner, copy or None)."""
        owner = self.owner(key, len(key))
        return owner, self.copy(key, len(key))
