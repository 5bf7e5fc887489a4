"""Single requests that somebody wants to see: a ring in shared memory.

    worker ─▶ begin ─▶ │ n - 3 │ n - 2 │ n - 1 │ n │ ─▶ read ─▶ supervisor
               writes over the oldest          ▲ end

Invariants:
- One writer, who never waits: what nobody has read in time is written over; the numbers tell a reader what is gone.
- A sighting is whole when its number stands in it; a reader looks at that before and after it has taken a copy.
- What a request or a reply has for a value is nowhere in here.
"""

cimport cython
from libc.stdint cimport uint64_t
from libc.string cimport memcpy, memset

from memagent._core.limits cimport MAX_KEY_BYTES
from memagent._core.metrics cimport Block
from memagent._core.request cimport V_FLUSH_ALL, verb_name

__all__ = ["Sightings", "sightings_slots"]

cdef extern from *:
    """
    static inline void memagent_number(uint64_t *number, uint64_t value) {
        __atomic_store_n(number, value, __ATOMIC_SEQ_CST);
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
    }
    static inline uint64_t memagent_number_now(const uint64_t *number) {
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
        return __atomic_load_n(number, __ATOMIC_SEQ_CST);
    }
    """
    void memagent_number(uint64_t *number, uint64_t value) noexcept nogil
    uint64_t memagent_number_now(const uint64_t *number) noexcept nogil

_STEPS = (None, "fallback", "failover", "again", "repair", "copy")


def sightings_slots(size_t capacity):
    """Slots of a ring for so many; memory that was never used takes none in fact."""
    return (sizeof(SightingsHead) + capacity * sizeof(Sighting)) // sizeof(uint64_t)


@cython.final
cdef class Sightings:
    """As many as the block has room for; it is kept alive."""

    def __cinit__(self, Block block not None):
        cdef Py_ssize_t room = block.n_slots - sightings_slots(0)
        if room <= 0 or room * sizeof(uint64_t) % sizeof(Sighting):
            raise ValueError(f"a block of {block.n_slots} slots is no ring of whole sightings")
        self._block = block
        self.head = <SightingsHead *> block.slot
        self.sightings = <Sighting *> (<char *> self.head + sizeof(SightingsHead))
        self.capacity = room * sizeof(uint64_t) // sizeof(Sighting)

    cdef Sighting *begin(self) noexcept:
        """The next one, empty: to be filled, and ended at once."""
        cdef Sighting *sighting = &self.sightings[self.head.count % self.capacity]
        memagent_number(&sighting.number, 0)
        memset(<char *> sighting + sizeof(uint64_t), 0, sizeof(Sighting) - sizeof(uint64_t))
        return sighting

    cdef void end(self, Sighting *sighting) noexcept:
        memagent_number(&sighting.number, self.head.count + 1)
        memagent_number(&self.head.count, self.head.count + 1)

    @property
    def count(self):
        """How many were ever written."""
        return memagent_number_now(&self.head.count)

    @property
    def dropped(self):
        """How many were not written because there were too many at once."""
        return memagent_number_now(&self.head.dropped)

    def matched(self, uint64_t tap):
        """How many requests were what the tap wants, shown or not."""
        cdef int i
        for i in range(MOST_TAPS):
            if self.head.tallies[i].tap == tap:
                return self.head.tallies[i].matched
        return 0

    def read(self, uint64_t after=0):
        """Those that are there of the ones behind number `after`, the oldest first.

        Each: (number, tap, ended_us, took_us, first_us, verb, key, keys, found, result, client, server, before, step).
        """
        cdef uint64_t last = memagent_number_now(&self.head.count)
        cdef uint64_t number = max(after, last - <uint64_t> self.capacity if last > self.capacity else 0)
        cdef Sighting *there
        cdef Sighting copy
        cdef list found = []
        while number < last:
            there = &self.sightings[number % self.capacity]
            number += 1
            if memagent_number_now(&there.number) != number:
                continue
            memcpy(&copy, there, sizeof(Sighting))
            if memagent_number_now(&there.number) != number:
                continue
            if copy.length > MAX_KEY_BYTES or copy.step > COPY or copy.verb > V_FLUSH_ALL:
                continue
            found.append((
                number, copy.tap, copy.ended_us, copy.took_us, copy.first_us, verb_name(copy.verb),
                (<char *> copy.key)[:copy.length], copy.n_keys, copy.n_found, text(copy.result, RESULT_BYTES),
                text(copy.client, NAME_BYTES), text(copy.server, NAME_BYTES), text(copy.before, NAME_BYTES),
                _STEPS[copy.step],
            ))
        return found


cdef bytes text(const char *p, size_t size):
    return (<bytes> p[:size]).partition(b"\0")[0]
