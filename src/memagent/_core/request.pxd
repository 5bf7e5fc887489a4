"""The text requests of memcached's protocol.txt, classic and meta, from bytes to offsets."""

from memagent._core.meta cimport MetaLine
from memagent._core.tokens cimport KeyRef


cdef enum Verb:
    V_GET
    V_GETS
    V_GAT
    V_GATS
    V_SET
    V_ADD
    V_REPLACE
    V_APPEND
    V_PREPEND
    V_CAS
    V_INCR
    V_DECR
    V_DELETE
    V_TOUCH
    V_MG
    V_MS
    V_MD
    V_MA
    V_ME
    V_FLUSH_ALL
    V_VERSION
    V_VERBOSITY
    V_STATS
    V_QUIT
    V_MN
    V_NONE


cdef enum Parsed:
    P_MORE        # not complete: `need` bytes in all are wanted, 0 when unknown
    P_REQUEST     # complete: `used` bytes
    P_ERROR       # answer `reply` unless quiet, go on behind `used` and then drop `skip` bytes
    P_TOO_LARGE   # the same, and the key's old value must go
    P_FATAL       # answer `reply` and close


cdef class RequestParser:
    cdef size_t max_item_bytes

    # The request that `next` has found; offsets count from the start of the request.
    cdef Verb verb
    cdef bint quiet
    cdef size_t used
    cdef size_t skip
    cdef size_t need
    cdef size_t line_length      # without the line's end
    cdef size_t body_start       # from the verb to the last token that a server needs:
    cdef size_t body_end         # what is sent on
    cdef size_t value_start
    cdef size_t value_length
    cdef KeyRef *keys
    cdef size_t n_keys
    cdef size_t keys_capacity
    cdef KeyRef words[4]         # behind the key: flags, exptime, bytes, cas unique; delta; exptime (touch)
    cdef KeyRef argument         # gat: the expiry; stats, verbosity, flush_all: everything behind the verb
    cdef int n_cuts              # of `meta.cuts`: words in between that are not sent on (see sent_line)
    cdef MetaLine meta           # the meta verbs: their flags
    cdef Verb twin               # the meta verbs: the classic verb that does the same
    cdef const char *reply
    cdef size_t reply_length

    # Only for the Python face.
    cdef bytes left
    cdef size_t skipping

    cdef Parsed next(self, const unsigned char *p, size_t n, size_t searched) except *
    cdef Parsed error(self, const char *reply, size_t skip) noexcept
    cdef Parsed fatal(self, const char *reply) noexcept
    cdef int add_key(self, size_t start, size_t length) except -1
    cdef Parsed parse_get(self, const unsigned char *p, size_t position) except *
    cdef Parsed parse_storage(self, const unsigned char *p, size_t n, size_t position) except *
    cdef Parsed parse_meta(self, const unsigned char *p, size_t n, size_t position) except *
    cdef Parsed data_block(self, const unsigned char *p, size_t n, size_t length) except *
    cdef Verb find_twin(self) noexcept
    cdef bytes sent_line(self, const unsigned char *p)
    cdef const unsigned char *stored_key(self, const unsigned char *p, size_t *length) noexcept
    cdef Parsed parse_line(self, const unsigned char *p, size_t position) except *
    cdef Parsed single_key(self, const unsigned char *p, KeyRef key, KeyRef last) except *
    cdef tuple describe(self, bytes raw)
    cdef tuple describe_meta(self, bytes raw)

cdef bytes verb_name(int verb)
