"""A request that is not for one pool as it is: a share for each pool, put together again."""

from memagent._core.buffer cimport Buffer
from memagent._core.exchange cimport Exchange, Waiting
from memagent._core.latency cimport VerbClass
from memagent._core.observer cimport Observer
from memagent._core.pool cimport Pool
from memagent._core.request cimport RequestParser
from memagent._core.routes cimport Routes


cdef class Share(Waiting):
    """What one pool, by one route, has of the request."""

    cdef Gathering whole         # None once it is answered
    cdef Exchange exchange
    cdef Pool pool
    cdef bytes prefix            # that its servers do not know
    cdef list keys               # as they know them
    cdef bytes text              # the request for this pool, None: as the client has sent it
    cdef bytes asked_key         # meta: the words that a reply shows the client's key in
    cdef size_t at               # how far the reply has been read

    cdef bint is_refused(self) noexcept
    cdef int take_item(self, bytes key, Buffer reply) except -1
    cdef bytes shown(self)


cdef class Gathering(Exchange):
    cdef Routes routes
    cdef VerbClass shares_timed_as
    cdef list shares
    cdef list order              # of a retrieval: whose each key is, in the client's order
    cdef size_t outstanding
    cdef Observer observer
    cdef object connection       # the client's, for whoever observes it

    cdef bint split(self, RequestParser request, const unsigned char *p) except -1
    cdef bint refuse(self, bytes reply, int counter) except -1
    cdef int share_done(self) except -1
    cdef int finish(self) except -1
    cdef int finish_values(self) except -1
