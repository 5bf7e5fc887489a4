"""What is looked at of single requests: hot keys, slow requests, what taps want to see."""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from memagent._core.exchange cimport Exchange
from memagent._core.hot cimport HotKeys
from memagent._core.sighting cimport Sighting, Sightings
from memagent._core.turn cimport Turn


cdef struct Budget:
    double per_s
    double left
    int64_t at_us            # when so much was left


cdef class Tap:
    cdef readonly uint64_t number
    cdef bytes prefix
    cdef int server          # -1: any
    cdef int verb            # -1: any
    cdef Budget budget
    cdef readonly size_t place  # of its tally

    cdef Py_ssize_t find(self, Exchange exchange) except -2


cdef class Observer:
    cdef int64_t ahead       # keys until one is looked at
    cdef int64_t least_us    # a request that takes so long is looked at when it ends
    cdef Turn turn
    cdef HotKeys hot
    cdef Sightings slow
    cdef Sightings tapped
    cdef int64_t slow_us
    cdef list taps
    cdef Budget budget       # of slow ones
    cdef bint finds_hot
    cdef uint32_t every      # one key in so many is looked at,
    cdef uint32_t drawn      # and was, when the next one was chosen
    cdef uint32_t n_looked   # since paced_us
    cdef int64_t paced_us
    cdef uint64_t random

    cdef int sample(self, Exchange exchange) except -1
    cdef int64_t draw(self) noexcept
    cdef void pace(self) noexcept
    cdef void tick(self) noexcept
    cdef int saw(self, Exchange exchange, object connection, const unsigned char *reply, size_t n) except -1
    cdef int note(self, Sightings where, uint64_t tap, Exchange exchange, uint32_t i, object connection,
                  const unsigned char *reply, size_t n) except -1
