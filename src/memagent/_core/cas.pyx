"""Cas uniques as servers know them and as clients see them (behaviour section 2, cas tokens).

    bit 63   62        61       60..48        47..0
        0  foreign   global   generation    the server's own number        an item that its server has numbered
        0    0         1      └─────────── time and worker ──────────┘     an item that a proxy has numbered (meta flag E)

A server numbers from 1 each time it starts, so a number of another server, or of an earlier life of the same one, could
by accident name another value. Both are part of what the client sees, and a number that does not fit the server which is
asked is answered EXISTS without asking. Bit 63 stays clear: some clients read a signed number.
"""

from libc.stdint cimport uint64_t

from memagent._core.server cimport Server


cdef uint64_t shown_cas(uint64_t cas, Server server, bint is_owner) noexcept:
    if cas & GLOBAL_CAS:
        return cas
    return cas | <uint64_t> (server.joined & (GENERATIONS - 1)) << GENERATION_SHIFT | (0 if is_owner else FOREIGN_CAS)


cdef bint taken_cas(uint64_t *cas, Server server, bint is_owner) noexcept:
    """Turn what a client gives into what `server` knows; false if it cannot be of this server."""
    if cas[0] & GLOBAL_CAS:
        return True
    if (
        (cas[0] & FOREIGN_CAS != 0) == is_owner
        or (cas[0] >> GENERATION_SHIFT & (GENERATIONS - 1)) != (server.joined & (GENERATIONS - 1))
    ):
        return False
    cas[0] &= (<uint64_t> 1 << GENERATION_SHIFT) - 1
    return True


cdef bytes show_cas(const unsigned char *p, size_t n, Server server, bint is_owner):
    """A whole item, "VALUE <key> <flags> <bytes> <cas unique>" first, as clients see it; None if it is that already."""
    cdef size_t end = 0
    cdef size_t start
    cdef size_t i
    cdef uint64_t cas = 0
    cdef uint64_t shown
    while p[end] != 13:
        end += 1
    start = end
    while p[start - 1] != 32:
        start -= 1
    for i in range(start, end):
        cas = cas * 10 + (p[i] - 48)
    shown = shown_cas(cas, server, is_owner)
    if shown == cas:
        return None
    return p[:start] + b"%d" % shown + p[end:n]
