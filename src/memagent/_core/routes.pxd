"""Which pool a key belongs to: the longest prefix decides."""

from memagent._core.pool cimport Pool
from memagent._core.request cimport RequestParser


cdef class Route:
    cdef readonly bytes prefix   # b"": every key
    cdef readonly Pool pool
    cdef readonly bint strip     # servers know the key without the prefix


cdef struct Entry:
    const unsigned char *text
    size_t length
    int shorter                  # the longest other prefix that this one begins with, -1: none


cdef class Routes:
    cdef readonly Pool only      # where every key goes as it is, whatever it is; None: keys decide
    cdef readonly list pools     # each once
    cdef list routes             # by prefix; `entries` go by them
    cdef Entry *entries
    cdef int n_entries

    cdef Route find(self, const unsigned char *key, size_t length)
    cdef Route common(self, RequestParser request, const unsigned char *p)
