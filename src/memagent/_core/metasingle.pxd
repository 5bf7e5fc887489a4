"""A meta request under way, and what every meta request's reply needs."""

from memagent._core.exchange cimport Exchange
from memagent._core.pool cimport Pool
from memagent._core.reply cimport Code
from memagent._core.request cimport RequestParser, Verb
from memagent._core.server cimport Server


cdef class Asked:
    """Of a meta request, what its reply needs: the request itself is gone by then."""

    cdef Verb verb
    cdef Verb twin       # the classic verb that does the same
    cdef int hidden      # the codes that q hides, a set
    cdef bint harmless   # may be done twice
    cdef bytes miss      # the reply to a mg (or me) for a key that is not there
    cdef bytes key_words  # k and the key, where the server is not to write them

    cdef bint hides(self, Code code) noexcept
    cdef int count(self, Exchange exchange, Server server, Code code) except -1


cdef Asked asked(RequestParser request, const unsigned char *p)
cdef int meta_expects(Verb verb, Server server) noexcept


cdef class MetaSingle(Exchange):
    cdef Pool pool
    cdef Server server
    cdef Asked asked
