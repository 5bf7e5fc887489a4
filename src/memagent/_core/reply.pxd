"""A memcached server's replies, from bytes to a code and the items in it."""

from libc.stdint cimport int64_t


cdef enum Code:
    R_MORE          # not complete
    R_GARBAGE       # not a reply to what was asked: the conversation is lost
    R_OTHER         # a line of no known kind
    R_STORED
    R_NOT_STORED
    R_EXISTS
    R_NOT_FOUND
    R_DELETED
    R_TOUCHED
    R_NUMBER
    R_OK
    R_VERSION
    R_VALUES        # VALUE items, none or more, and END
    R_HD            # meta: done, or found
    R_VA            # meta: found, with a value
    R_EN            # meta: not found (mg, me)
    R_NS            # meta: not stored
    R_EX            # meta: another cas token
    R_NF            # meta: not found (ms, md, ma)
    R_ME            # meta: what is known of an item, for people
    R_ERROR
    R_CLIENT_ERROR
    R_SERVER_ERROR


# What a verb's reply may be, as a set of codes. Every verb may be answered by an error line.
cdef enum Expects:
    E_ERROR = 1 << R_ERROR | 1 << R_CLIENT_ERROR | 1 << R_SERVER_ERROR
    # Not a code: sent with a data block, which a server that refuses the first line may read as commands.
    E_BLOCK = 1 << 30
    E_STORAGE = E_ERROR | E_BLOCK | 1 << R_STORED | 1 << R_NOT_STORED | 1 << R_EXISTS | 1 << R_NOT_FOUND
    E_DELETE = E_ERROR | 1 << R_DELETED | 1 << R_NOT_FOUND
    E_NUMBER = E_ERROR | 1 << R_NUMBER | 1 << R_NOT_FOUND
    E_TOUCH = E_ERROR | 1 << R_TOUCHED | 1 << R_NOT_FOUND
    E_OK = E_ERROR | 1 << R_OK
    E_VERSION = E_ERROR | 1 << R_VERSION
    E_VALUES = E_ERROR | 1 << R_VALUES
    E_MG = E_ERROR | 1 << R_HD | 1 << R_VA | 1 << R_EN
    E_MS = E_ERROR | 1 << R_HD | 1 << R_NS | 1 << R_EX | 1 << R_NF
    E_MD = E_ERROR | 1 << R_HD | 1 << R_EX | 1 << R_NF
    E_MA = E_MS | 1 << R_VA
    E_ME = E_ERROR | 1 << R_ME | 1 << R_EN
    E_LINE = E_STORAGE | E_DELETE | E_NUMBER | E_TOUCH | E_OK | E_VERSION


cdef struct Item:
    size_t start        # of "VALUE "; the key stands 6 bytes further
    size_t key_length
    size_t end          # behind the data block's line end


cdef class ReplyParser:
    # The reply that `next` has found.
    cdef size_t used
    cdef size_t need        # R_MORE: bytes wanted in all, 0 when unknown
    cdef size_t scanned     # R_MORE: whole items up to here, to be handed in again
    cdef Item *items        # items found by this call; all of the reply's if it began at 0
    cdef size_t n_items
    cdef size_t items_capacity
    cdef size_t flags_start     # R_HD ... R_ME: what stands behind the code (and the size of R_VA), without the line's end
    cdef size_t flags_length
    cdef size_t value_start     # R_VA
    cdef size_t value_length
    cdef str reason         # why it is garbage

    # Only for the Python face.
    cdef bytes left

    cdef Code next(self, const unsigned char *p, size_t n, int expects, size_t scanned) except *
    cdef Code line(self, const unsigned char *p, size_t n, int expects) except *
    cdef Code meta(self, const unsigned char *p, size_t n, size_t end, Code code) except *
    cdef Code values(self, const unsigned char *p, size_t n, size_t at) except *
    cdef Code garbage(self, str reason) except *
    cdef int add_item(self, size_t start, size_t key_length, size_t end) except -1
    cdef tuple describe(self, bytes raw)
    cdef tuple describe_meta(self, bytes raw, Code code)

cdef bint meta_flag(const unsigned char *p, size_t start, size_t length, unsigned char letter, int64_t *value) noexcept
