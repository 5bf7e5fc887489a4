"""Cas uniques as servers know them and as clients see them."""

from libc.stdint cimport uint64_t

from memagent._core.server cimport Server

cdef enum:
    GLOBAL_CAS = 0x2000000000000000    # given by a proxy, the same on every server that has the item
    FOREIGN_CAS = 0x4000000000000000   # as clients see it: of a server that does not own the key
    GENERATION_SHIFT = 48   # as clients see it: above this, which life of its server gave it
    GENERATIONS = 1 << 13


cdef uint64_t shown_cas(uint64_t cas, Server server, bint is_owner) noexcept
cdef bint taken_cas(uint64_t *cas, Server server, bint is_owner) noexcept
cdef bytes show_cas(const unsigned char *p, size_t n, Server server, bint is_owner)
