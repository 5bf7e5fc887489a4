# cython: cdivision=True
"""Which keys are asked for most, now: a table of bounded size in shared memory.

    sample of a key ─▶ its hash names a set of 16 places ─┬─ it is there ──────────▶ counts on
                                                          └─ it takes the lightest ▶ counts on from what that had

This is Space-Saving (Metwally and others, 2005) within each set: a key that takes another's place may have had up to that
one's count before, and that is what it may be overrated by (`before`). Sets in place of one large table, because a
sample then costs sixteen comparisons, and needs neither a heap nor a second table to find a key by.

Counts fade by half in HALF_LIFE_US, so that hot means now. Not they are made smaller as time passes, new samples weigh more
(forward decay, Cormode and others, 2009): nothing has to be done on a worker that is idle.

Invariants:
- One writer. A reader takes a copy of it all, and again if it was changed meanwhile: the writer never waits.
- What a key is known to have is `reads` + `writes`; what it can have had is that and `before`.
- The hash is salted, so that nobody can choose keys that crowd a set.
"""

cimport cython
from libc.math cimport exp2, sqrt
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memcpy, memset

from memagent._core.limits cimport MAX_KEY_BYTES
from memagent._core.metrics cimport Block
from memagent._core.xxh3 cimport xxh3_64

__all__ = ["HotKeys", "hot_slots"]

cdef extern from *:
    """
    static inline void memagent_change(uint64_t *version, uint64_t value) {
        __atomic_store_n(version, value, __ATOMIC_SEQ_CST);
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
    }
    static inline uint64_t memagent_version(const uint64_t *version) {
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
        return __atomic_load_n(version, __ATOMIC_SEQ_CST);
    }
    """
    void memagent_change(uint64_t *version, uint64_t value) noexcept nogil
    uint64_t memagent_version(const uint64_t *version) noexcept nogil

cdef enum:
    HALF_LIFE_US = 10_000_000
    HALF_LIVES = 64             # after so many a sample weighs 2**64 times as much: then all weights are made small again
    COPY_TRIES = 1000           # whoever changes it takes less than a microsecond, a thousand times a second
    LEAST_AGE_US = 100_000      # what came in less says nothing about a second

cdef double LN2 = 0.6931471805599453


def hot_slots():
    """Slots of a table; memory that was never used takes none in fact."""
    return sizeof(HotTable) // sizeof(uint64_t)


@cython.final
cdef class HotKeys:
    """Over a block of `hot_slots()` slots, which it keeps alive. `seed`: any number, for who counts."""

    def __cinit__(self, Block block not None, uint64_t seed=0):
        if block.n_slots != hot_slots():
            raise ValueError(f"a block of {block.n_slots} slots is no table of hot keys, which has {hot_slots()}")
        self._block = block
        self.table = <HotTable *> block.slot
        self.seed = seed

    def clear(self, int64_t since_us):
        """Nothing is known; counts from then on, 0: not at all."""
        cdef HotTable *table = self.table
        # odd already if who counted here before has died in the middle
        memagent_change(&table.version, table.version | 1)
        memset(<char *> table + sizeof(uint64_t), 0, sizeof(HotTable) - sizeof(uint64_t))
        table.since_us = table.landmark_us = since_us
        memagent_change(&table.version, table.version + 1)

    cdef int count(self, const unsigned char *key, size_t length, bint is_write, int server, double every,
                   int64_t now_us) except -1:
        """One key was looked at, and stands for `every`."""
        cdef HotTable *table = self.table
        cdef uint64_t hash = xxh3_64(key, length) ^ self.seed
        cdef HotKey *found = &table.keys[(hash * 0x9E3779B97F4A7C15U >> 32) % HOT_SETS * HOT_WAYS]
        cdef HotKey *lightest = found
        cdef double least = -1
        cdef double weight
        cdef int _
        if length == 0 or length > MAX_KEY_BYTES:
            return 0
        if now_us - table.landmark_us > <int64_t> HALF_LIVES * HALF_LIFE_US:
            self.fade(now_us)
        memagent_change(&table.version, table.version + 1)
        weight = every * exp2(<double> (now_us - table.landmark_us) / HALF_LIFE_US)
        table.total += weight
        table.every = every
        for _ in range(HOT_WAYS):
            if found.hash == hash and found.length == length and memcmp(found.key, key, length) == 0:
                break
            if least < 0 or found.reads + found.writes + found.before < least:
                least = found.reads + found.writes + found.before
                lightest = found
            found += 1
        else:
            found = lightest
            found.before = least
            found.reads = found.writes = 0
            found.hash = hash
            found.length = <uint32_t> length
            memcpy(found.key, key, length)
        if is_write:
            found.writes += weight
        else:
            found.reads += weight
        found.server = server
        memagent_change(&table.version, table.version + 1)
        return 0

    cdef int fade(self, int64_t now_us) except -1:
        """The landmark is now."""
        cdef HotTable *table = self.table
        cdef double share = exp2(-<double> (now_us - table.landmark_us) / HALF_LIFE_US)
        cdef int i
        memagent_change(&table.version, table.version + 1)
        for i in range(HOT_SETS * HOT_WAYS):
            table.keys[i].reads *= share
            table.keys[i].writes *= share
            table.keys[i].before *= share
        table.total *= share
        table.landmark_us = now_us
        memagent_change(&table.version, table.version + 1)
        return 0

    def read(self, int64_t now_us):
        """(keys, total per s, unseen per s), None if nothing is collected.

        Of each key: (key, reads per s, writes per s, before per s, spread per s, server's number). It had at least
        reads + writes - spread and at most reads + writes + before + spread; `spread` is two standard deviations of what
        comes from looking at some only. A key that is not there had at most the unseen.
        """
        cdef HotTable *copy = <HotTable *> malloc(sizeof(HotTable))
        cdef HotKey *each
        cdef uint64_t version
        cdef double one      # what a request that came just now adds to a rate per s
        cdef double per_s
        cdef double least = 0
        cdef double seen
        cdef double unseen = 0
        cdef double age
        cdef list keys = []
        cdef int i
        cdef int _
        if copy == NULL:
            raise MemoryError
        try:
            for _ in range(COPY_TRIES):
                version = memagent_version(&self.table.version)
                memcpy(copy, self.table, sizeof(HotTable))
                if not version & 1 and memagent_version(&self.table.version) == version:
                    break
            if copy.since_us == 0:
                return None
            age = <double> max(now_us - copy.since_us, <int64_t> LEAST_AGE_US) / HALF_LIFE_US
            one = LN2 / (HALF_LIFE_US * 1e-6 * (1 - exp2(-age)))
            per_s = one * exp2(-<double> (now_us - copy.landmark_us) / HALF_LIFE_US)
            for i in range(HOT_SETS * HOT_WAYS):
                each = &copy.keys[i]
                seen = (each.reads + each.writes) * per_s
                if i % HOT_WAYS == 0:
                    least = seen + each.before * per_s
                least = min(least, seen + each.before * per_s)
                if i % HOT_WAYS == HOT_WAYS - 1:
                    unseen = max(unseen, least)
                if 0 < each.length <= MAX_KEY_BYTES:
                    keys.append((
                        (<char *> each.key)[:each.length], each.reads * per_s, each.writes * per_s, each.before * per_s,
                        2 * sqrt((copy.every - 1) * seen * one), each.server,
                    ))
            return keys, copy.total * per_s, unseen
        finally:
            free(copy)

    # For tests.

    def add(self, bytes key not None, int64_t now_us, bint is_write=False, int server=-1, double every=1):
        """One key was looked at, and stands for `every`."""
        self.count(key, len(key), is_write, server, every, now_us)
