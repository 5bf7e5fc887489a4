"""How a server stands with all workers: one row of shared memory, so that there is one outage for all of them.

    row ──▶ │ outage, opened, identity │ word of place 0, place 1, ... │      each part on cache lines of its own

    outage     number of the last outage that was begun, by whichever worker took the server down
    opened     number of the last outage that is over: every worker's journal was played; see below
    identity   of the process that was last known there (0: unknown), for workers that have not met it yet
    word       a worker's answer: outage << 8 | elsewhere << 6 | used << 5 | emptied << 4 | phase (up, down, returning,
               warming)

While a server is not up, another one decides about its keys. Two must never do so at once, though each worker has writes
under way when it opens. So it opens in two steps, as a lock that many readers hold is taken for writing:

    opened:  n - 1 ── open: the leader ──▶ n is opening ── finish_opening: whoever finds nobody elsewhere ──▶ n
               ▲ ◀─────── call_off: who has waited too long ──┘
    word:    elsewhere is set before a write looks whether the server is opening; if it is, the write waits
    slot:    outage << 16 | attempt << 1 | opening; no attempt can be taken for a later one of the same outage

Invariants (behaviour section 3):
- `outage` is raised before a write that left the server out is acknowledged; a worker that sees it ahead of what it has
  joined joins before it uses the server. So no read finds what such a write has made old.
- Two workers that find a server dead at the same time begin one outage, not two.
- `opened` never gets ahead of `outage`, and neither of them ever falls.
- A word has one writer, the worker of that place; `used` tells a place that never had a worker from one that says "up".
- No outage is over while a living worker's word says elsewhere.
"""

cimport cython
from libc.stdint cimport uint64_t

from memagent._core.metrics cimport Block

cdef enum:
    PHASES = 0b1111
    EMPTIED = 1 << 4
    USED = 1 << 5
    ELSEWHERE = 1 << 6  # it has writes under way about which the other server of the key decides


def standing_slots(Py_ssize_t n_places):
    """How many slots a row takes: whole cache lines."""
    return AT_WORDS + (n_places + 7) // 8 * 8


@cython.final
cdef class Standing:
    """The row at `offset_slots` of a buffer that processes share; of memory of its own when there is none."""

    def __cinit__(self, object buffer=None, Py_ssize_t offset_slots=0, Py_ssize_t n_places=1, Py_ssize_t place=0):
        if not 0 <= place < n_places:
            raise ValueError(f"place {place} of {n_places}")
        slots = standing_slots(n_places)
        self.row = Block(bytearray(8 * slots) if buffer is None else buffer, offset_slots, slots)
        self.n_places = n_places
        self.place = place

    cdef uint64_t begin(self, uint64_t joined) noexcept:
        """The number of the outage that is under way now: a new one, unless another worker has been quicker."""
        swap(self.row.slot + AT_OUTAGE, joined, joined + 1)
        return self.outage_now()

    cdef int say(self, uint64_t outage, int phase, bint emptied, bint elsewhere) except -1:
        """Write this worker's word; the line is left alone where it says so already."""
        cdef uint64_t word = outage << 8 | (ELSEWHERE if elsewhere else 0) | USED | (EMPTIED if emptied else 0) | phase
        if load(self.row.slot + AT_WORDS + self.place) != word:
            store(self.row.slot + AT_WORDS + self.place, word)
        return 0

    cdef bint all_say(self, uint64_t outage, int phase) noexcept:
        """Have all workers joined this outage, and are they in this phase of it?"""
        cdef size_t place
        cdef uint64_t word
        for place in range(self.n_places):
            word = load(self.row.slot + AT_WORDS + place)
            if word & USED and (word >> 8 != outage or <int> (word & PHASES) != phase):
                return False
        return True

    cdef int bury(self, size_t place) except -1:
        """Nobody will ever take this place again: its word does not count any more."""
        store(self.row.slot + AT_WORDS + place, 0)
        return 0

    cdef int open(self, uint64_t outage) except -1:
        """This outage is over as soon as nobody is elsewhere."""
        cdef uint64_t opening
        if outage > self.outage_now():
            raise ValueError(f"outage {outage} has not begun yet")
        while True:
            opening = load(self.row.slot + AT_OPENED)
            if opening >> OUTAGE_SHIFT > outage or self.opened_now() >= outage:
                return 0
            if opening >> OUTAGE_SHIFT == outage and opening & OPENING:
                return self.finish_opening()
            if swap(self.row.slot + AT_OPENED, opening,
                    outage << OUTAGE_SHIFT | (opening + ATTEMPT) & ATTEMPTS | OPENING):
                return self.finish_opening()

    cdef int finish_opening(self) noexcept:
        """The last step, if nobody is elsewhere."""
        cdef size_t place
        cdef uint64_t opening = load(self.row.slot + AT_OPENED)
        if not opening & OPENING:
            return 0
        for place in range(self.n_places):
            if load(self.row.slot + AT_WORDS + place) & ELSEWHERE:
                return 0
        swap(self.row.slot + AT_OPENED, opening, opening & ~<uint64_t> OPENING)
        return 0

    cdef int call_off(self) noexcept:
        """It takes too long: not now."""
        cdef uint64_t opening = load(self.row.slot + AT_OPENED)
        if opening & OPENING:
            swap(self.row.slot + AT_OPENED, opening,
                 ((opening >> OUTAGE_SHIFT) - 1) << OUTAGE_SHIFT | opening & ATTEMPTS)
        return 0

    # The Python face: for the leader, who asks now and then, and for tests.

    @property
    def outage(self):
        return self.outage_now()

    @property
    def opened(self):
        return self.opened_now()

    @property
    def identity(self):
        return load(self.row.slot + AT_IDENTITY)

    @identity.setter
    def identity(self, uint64_t value):
        store(self.row.slot + AT_IDENTITY, value)

    def begin_outage(self, uint64_t joined):
        """As a worker that has joined `joined` does; the number of the outage that is under way now."""
        return self.begin(joined)

    def begin_opening(self, uint64_t outage):
        """Workers take the server for up again as soon as nobody is elsewhere; once more: look again."""
        self.open(outage)

    def call_off_opening(self):
        """It stays as it is until it is opened once more."""
        self.call_off()

    def forget_elsewhere(self, Py_ssize_t place):
        """The worker of this place is dead: its writes have ended with it."""
        cdef uint64_t word
        if not 0 <= place < <Py_ssize_t> self.n_places:
            raise IndexError(f"place {place} of {self.n_places}")
        word = load(self.row.slot + AT_WORDS + place)
        if word & ELSEWHERE:
            store(self.row.slot + AT_WORDS + place, word & ~<uint64_t> ELSEWHERE)

    def bury_place(self, Py_ssize_t place):
        """Its worker has gone, and nobody takes the place: what it said last does not count any more."""
        if not 0 <= place < <Py_ssize_t> self.n_places:
            raise IndexError(f"place {place} of {self.n_places}")
        self.bury(place)

    def say_word(self, uint64_t outage, int phase, bint emptied=False, bint elsewhere=False):
        self.say(outage, phase, emptied, elsewhere)

    def word(self, Py_ssize_t place):
        """(used, outage, phase, emptied), as the worker of this place says."""
        cdef uint64_t word
        if not 0 <= place < <Py_ssize_t> self.n_places:
            raise IndexError(f"place {place} of {self.n_places}")
        word = load(self.row.slot + AT_WORDS + place)
        return bool(word & USED), word >> 8, word & PHASES, bool(word & EMPTIED)
