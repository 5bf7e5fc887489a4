"""A request that changes one key."""

from libc.stdint cimport uint32_t, uint64_t

from memagent._core.asked cimport Asked
from memagent._core.channel cimport Failure
from memagent._core.exchange cimport Exchange
from memagent._core.pool cimport Pool
from memagent._core.reply cimport Code
from memagent._core.request cimport KeyRef, RequestParser, Verb
from memagent._core.server cimport Server


cdef class Mutation(Exchange):
    cdef Asked asked             # ms, md, ma
    cdef Verb kind               # the verb, or the classic one that does the same as the meta one
    cdef Server owner
    cdef Server authority
    cdef Server follower         # gets the effect; None if there is none, or if it is out
    cdef Server closed           # the follower, if it shall not open before nothing is under way here
    cdef Server left_out         # the follower that is out, while the authority has not answered
    cdef bytes key               # not in the object: Python's own allocator serves no more than 512 bytes
    cdef size_t key_length
    cdef uint32_t slot
    cdef bint at_once            # the follower is sent the request together with the authority
    cdef bint ordered            # the follower is sent the effect when the authority has answered; counted in pool.ordered
    cdef bint marked             # as a write that is under way
    cdef uint32_t note           # of it, for whoever outlives this worker
    cdef uint64_t others         # marks of other workers' writes when it began
    cdef bint overlapped         # one of them has been under way at the same time
    cdef bint switched           # the authority has failed and the follower's answer counts
    cdef bint repaired_before
    cdef bint repairing          # waits for that
    cdef bint witness            # what an add finds on the follower counts
    cdef bint asking             # the authority has not answered
    cdef bint telling            # the follower has not answered
    cdef bytes own_number        # incr, decr: what it is now on the authority
    cdef bytes follower_number   # and on the follower
    cdef Code own_code           # the authority's answer
    cdef bytes own_reply
    cdef Code follower_code      # the follower's, R_MORE as long as there is none
    cdef bytes follower_reply
    # The request, kept while another step may need it.
    cdef RequestParser request   # who has read it, while it waits to begin
    cdef unsigned char *text
    cdef size_t text_length
    cdef KeyRef words[3]
    cdef size_t value_start
    cdef size_t value_length
    cdef uint64_t cas            # that the item is stored with, 0: whatever the server chooses
    cdef bint has_cas            # only if the item has
    cdef uint64_t wanted_cas     # this one, as clients see it
    cdef bytes line              # ms, md, ma

    cdef int choose(self, Pool pool, const unsigned char *key, size_t length) except -1
    cdef bint must_wait(self) except -1
    cdef int wait(self, RequestParser request, const unsigned char *p) except -1
    cdef int rest(self) except -1
    cdef int keep_text(self, RequestParser request, const unsigned char *p) except -1
    cdef int remember(self, RequestParser request, const unsigned char *p) except -1
    cdef int ask(self, const unsigned char *base) except -1
    cdef int tell(self, const unsigned char *base) except -1
    cdef int write(self, Server server, uint32_t part, Verb verb, const unsigned char *base) except -1
    cdef int write_both(self, const unsigned char *base) except -1
    cdef unsigned char *put_set(self, unsigned char *at, const unsigned char *base) noexcept
    cdef int give(self, Server server, uint32_t part, const unsigned char *line, size_t n, const unsigned char *p) except -1
    cdef int own(self, Code code, const unsigned char *p, size_t n) except -1
    cdef int own_failed(self, Failure why, bint sent) except -1
    cdef int theirs(self, Code code, const unsigned char *p, size_t n) except -1
    cdef int judge(self, Code code) except -1
    cdef int respond(self, Code code, const unsigned char *p, size_t n) except -1
    cdef int respond_own(self) except -1
    cdef int respond_theirs(self) except -1
    cdef int take_part(self) except -1
    cdef int unorder(self) except -1
    cdef int let_in(self, bint has_missed) except -1
    cdef bint is_harmless(self) noexcept
    cdef void mark(self, Server other) noexcept
    cdef void unmark(self) noexcept
    cdef void blame(self, Server authority) noexcept
    cdef int complete(self) except -1
    cdef int fail(self, Failure why, bint sent) except -1
