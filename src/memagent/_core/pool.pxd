"""Servers, backups and the rings over them."""

from libc.stdint cimport int64_t, uint16_t, uint64_t

from memagent._core.latency cimport Histograms
from memagent._core.marks cimport Marks
from memagent._core.ring cimport Placement
from memagent._core.server cimport Server
from memagent._core.timers cimport Timers

cdef enum:
    ORDERED_SLOTS = 4096


cdef enum Fallback:
    ALWAYS
    WHILE_WARMING
    NEVER


cdef class Pool:
    cdef readonly str name
    cdef readonly list servers
    cdef readonly list backups
    cdef Placement placement
    cdef readonly bint has_copies
    cdef readonly bint only_mirrors            # the second server of a key gets all writes, and is never asked
    cdef readonly bint miss_when_down
    cdef readonly bint acknowledge_all
    cdef Fallback fallback
    cdef readonly int64_t multiget_deadline_us
    cdef readonly int64_t repair_ttl_s
    cdef Timers timers
    cdef readonly Marks marks
    cdef readonly Histograms latencies          # how long its clients' requests take, by VerbClass; None: not measured
    cdef int owner_index                        # of the key that `owner` was asked for last
    cdef uint16_t ordered[ORDERED_SLOTS]        # writes under way that reach the follower after the authority, by key
    cdef uint64_t cas_base
    cdef uint64_t last_cas
    cdef readonly set repairing                 # keys that repairs are under way for
    cdef readonly object refills                # Repairs that have not begun
    cdef size_t n_refilling
    cdef readonly dict doubted                  # the Doubts under way, by key

    cdef Server owner(self, const unsigned char *key, size_t length)
    cdef Server copy(self, const unsigned char *key, size_t length)
    cdef Server authority(self, Server owner, Server copy)
    cdef bint may_answer(self, Server second) except -1
    cdef uint64_t new_cas(self, int64_t now_us) noexcept
