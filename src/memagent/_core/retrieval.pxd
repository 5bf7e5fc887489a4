"""A retrieval of one key."""

from libc.stdint cimport uint32_t, uint64_t

from memagent._core.asked cimport Asked
from memagent._core.channel cimport Channel, Failure
from memagent._core.exchange cimport Exchange
from memagent._core.limits cimport MAX_KEY_BYTES
from memagent._core.request cimport RequestParser
from memagent._core.server cimport Server


cdef class Retrieval(Exchange):
    cdef Server owner
    cdef Server server           # that was asked
    cdef Server missed_by        # who did not have it
    cdef bint second_asked
    cdef Asked asked             # mg, me
    cdef bytes line              # as sent to a server, where verb and key do not make it
    cdef bytes first_line        # a mg that makes an item where there is none looks first
    cdef bytes exptime           # gat, mg T: what the key's time to live becomes
    cdef uint32_t slot
    cdef bint marked             # as a write of its time to live
    cdef uint32_t note_number    # of the mark's note
    cdef bint careful            # the owner has just fallen or risen: another worker may be writing elsewhere still
    cdef uint64_t others         # marks of other workers' writes when the server was asked
    cdef unsigned char key[MAX_KEY_BYTES]
    cdef size_t key_length

    cdef int note(self, RequestParser request, const unsigned char *p) except -1
    cdef bint pick(self) except -1
    cdef bytes words(self)
    cdef int put(self, Channel channel, bytes line) except -1
    cdef int watch(self) except -1
    cdef bint may_be_old(self) noexcept
    cdef int again(self) except -1
    cdef void unmark(self) noexcept
    cdef int ask(self, Server server) except -1
    cdef Server other(self)
    cdef Server peer(self)
    cdef int miss(self, const unsigned char *p, size_t n) except -1
    cdef int give_up(self, Failure why) except -1
    cdef int answer(self, const unsigned char *p, size_t n) except -1
