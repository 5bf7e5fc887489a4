"""Which keys are asked for most, now: a table of bounded size in shared memory."""

from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

from memagent._core.limits cimport MAX_KEY_BYTES
from memagent._core.metrics cimport Block

cdef enum:
    HOT_SETS = 32
    HOT_WAYS = 16


cdef struct HotKey:
    uint64_t hash
    double reads             # weights: what was seen of this key since it stands here,
    double writes
    double before            # and what the one had whose place it took, which may be its own
    int32_t server           # that it was last asked of, -1: none
    uint32_t length          # 0: free
    unsigned char key[MAX_KEY_BYTES]


cdef struct HotTable:
    uint64_t version         # odd while it is being changed
    int64_t since_us         # since when it counts, 0: it does not
    int64_t landmark_us      # when a sample weighed what it stands for
    double total             # weight of all keys
    double every             # one key in so many is looked at
    HotKey keys[HOT_SETS * HOT_WAYS]


cdef class HotKeys:
    cdef HotTable *table
    cdef uint64_t seed
    cdef Block _block

    cdef int count(self, const unsigned char *key, size_t length, bint is_write, int server, double every,
                   int64_t now_us) except -1
    cdef int fade(self, int64_t now_us) except -1
