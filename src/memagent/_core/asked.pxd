"""What a meta request asks for: of the request itself nothing is left when the reply comes."""

from libc.stdint cimport uint64_t

from memagent._core.reply cimport Code
from memagent._core.request cimport RequestParser, Verb
from memagent._core.server cimport Server


cdef class Asked:
    cdef Verb verb
    cdef Verb twin       # the classic verb that does the same
    cdef int hidden      # the codes that q hides, a set
    cdef bytes line      # what is sent on, without its end
    cdef bytes exptime   # T, None without it
    cdef bint has_cas    # C: only if the item has
    cdef uint64_t cas    # this one, as clients see it
    cdef bint chooses_cas  # E
    cdef bint shows_cas  # c
    cdef bint vivifies   # mg with N
    cdef bytes tail      # of the reply's line where it needs no item: opaque and key
    cdef bytes key_words  # k and the key, where the server is not to write them

    cdef bint hides(self, Code code) noexcept
    cdef bytes bare(self, Code code)
    cdef list words(self, bytes letters)
    cdef bytes with_cas(self, uint64_t cas)
    cdef bytes effect(self)
    cdef bytes plain(self)
    cdef bytes shown(self, const unsigned char *p, size_t n, Server server, bint is_owner, bint has_copies)


cdef Asked asked(RequestParser request, const unsigned char *p)
cdef int meta_expects(Verb verb, Server server) noexcept
