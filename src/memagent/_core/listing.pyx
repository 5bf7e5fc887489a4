"""The keys that a server lists, less those that are not wanted.

    mgdump      mg <key>\\r\\n  or  mg <key in base64> b\\r\\n  ...  EN\\r\\n
    metadump    key=<key, %xx for what is not a letter or digit> exp=<time, -1 never> ... cas=<cas> ...\\n  ...  END\\r\\n
    either      OK\\r\\n first (newer servers); BUSY ..., ERROR ..., CLIENT_ERROR ... where there is none

A key is kept if one of source and target owns it and the other one holds its copy: a key that lies about at a server
which is neither is left over from another configuration, and old. Where source and target are the same server, those are
kept that another one owns and of which it holds the copy. What is kept waits, packed, until it is taken.
"""

cimport cython
from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memchr, memcmp, memcpy

from memagent._core.buffer cimport Buffer, Memory
from memagent._core.copies cimport NEVER, UNKNOWN, Route
from memagent._core.limits cimport MAX_KEY_BYTES, MAX_REPLY_LINE_BYTES
from memagent._core.meta cimport decode_base64
from memagent._core.warming cimport Batch

from memagent.errors import ProtocolError

cdef enum:
    HEADER_BYTES = 2
    DATES_BYTES = 16

cdef Memory memory = Memory(0)


cdef inline int hex_value(unsigned char c) noexcept:
    if 48 <= c <= 57:
        return c - 48
    if 65 <= c <= 70:
        return c - 55
    return c - 87 if 97 <= c <= 102 else -1


cdef Py_ssize_t decoded_key(const unsigned char *p, size_t n, unsigned char *into) noexcept:
    """The length of the key that metadump writes as p; -1 if it is too long."""
    cdef size_t i = 0, length = 0
    while i < n:
        if length == MAX_KEY_BYTES:
            return -1
        if p[i] == 37 and i + 2 < n and hex_value(p[i + 1]) >= 0 and hex_value(p[i + 2]) >= 0:
            into[length] = <unsigned char> (hex_value(p[i + 1]) << 4 | hex_value(p[i + 2]))
            i += 3
        else:
            into[length] = p[i]
            i += 1
        length += 1
    return <Py_ssize_t> length


cdef const unsigned char *after(const unsigned char *p, const unsigned char *end, const char *name) noexcept:
    """Behind " xxx=" (five bytes); NULL if it is not there."""
    cdef const unsigned char *at = p
    while end - at >= 5:
        at = <const unsigned char *> memchr(at, 32, end - at - 4)
        if at == NULL:
            return NULL
        if memcmp(at, name, 5) == 0:
            return at + 5
        at += 1
    return NULL


cdef uint64_t number(const unsigned char *p, const unsigned char *end) noexcept:
    cdef uint64_t value = 0
    while p < end and 48 <= p[0] <= 57:
        value = value * 10 + (p[0] - 48)
        p += 1
    return value


@cython.final
cdef class Listing:
    """Of one source for one target, both positions among the pool's servers and then its backups.

    `is_dated` is set before anything is fed: is what metadump says of an item's expiry and cas needed, since
    fetching it will not tell?
    """

    def __cinit__(self, Placement placement not None, int target, int source, Tally tally not None):
        self.placement = placement
        self.target = target
        self.source = source
        self.tally = tally
        self.left = b""
        self.queue = Buffer(memory)

    @property
    def waiting_bytes(self):
        return self.queue.length()

    @property
    def is_locked(self):
        """Is another listing or a crawl under way there, or its hash table growing?"""
        return self.refusal is not None and (self.refusal.startswith("BUSY") or "locked" in self.refusal)

    def begin(self):
        """A listing from its first line on; what an earlier one has left to wait stays."""
        self.left = b""
        self.begun = self.ended = False
        self.refusal = None

    def feed(self, const unsigned char[::1] data not None, size_t start, size_t end):
        """All of data[start:end]. ProtocolError if no memcached says that."""
        cdef const unsigned char *p
        cdef const unsigned char *newline
        cdef size_t length
        cdef bytes whole
        if start > end or end > <size_t> data.shape[0]:
            raise IndexError("beyond the data")
        while start < end:
            if self.ended:
                raise ProtocolError("more after the end of a listing")
            p = &data[start]
            newline = <const unsigned char *> memchr(p, 10, end - start)
            length = (newline - p if newline != NULL else end - start)
            if length + len(self.left) > MAX_REPLY_LINE_BYTES:
                raise ProtocolError("a line without an end in a listing of keys")
            if newline == NULL:
                self.left += p[:length]
                return
            start += length + 1
            if self.left:
                whole = self.left + p[:length]
                self.left = b""
                self.line(whole, len(whole))
            else:
                self.line(p, length)

    cdef int line(self, const unsigned char *p, size_t n) except -1:
        cdef unsigned char key[MAX_REPLY_LINE_BYTES]
        cdef Listed listed = Listed(UNKNOWN, 0, 0, False)
        cdef Py_ssize_t length
        cdef const unsigned char *end
        cdef const unsigned char *at
        if n and p[n - 1] == 13:
            n -= 1
        if n > 3 and memcmp(p, b"mg ", 3) == 0:
            p += 3
            n -= 3
            if n > 2 and p[n - 2] == 32 and p[n - 1] == 98:
                length = decode_base64(p, n - 2, key)
                if length < 1 or length > MAX_KEY_BYTES:
                    raise ProtocolError("a listed key that is not base64")
                listed.is_binary = True
                listed.length = <uint8_t> length
                return self.keep(key, &listed)
            if n > MAX_KEY_BYTES or memchr(p, 32, n) != NULL:
                raise ProtocolError("a listed key that cannot be one")
            listed.length = <uint8_t> n
            return self.keep(p, &listed)
        if n > 4 and memcmp(p, b"key=", 4) == 0:
            end = p + n
            p += 4
            at = <const unsigned char *> memchr(p, 32, end - p)
            if at == NULL:
                raise ProtocolError("a listed key without anything behind it")
            length = decoded_key(p, at - p, key)
            if length < 1:
                raise ProtocolError("a listed key that cannot be one")
            listed.length = <uint8_t> length
            p = after(at, end, b" exp=")
            if p != NULL and p < end:
                listed.expires_s = NEVER if p[0] == 45 else <int64_t> number(p, end)
            p = after(at, end, b" cas=")
            if p != NULL:
                listed.cas = number(p, end)
            return self.keep(key, &listed)
        if (n == 2 and memcmp(p, b"EN", 2) == 0) or (n == 3 and memcmp(p, b"END", 3) == 0):
            self.ended = True
            return 0
        if n == 2 and memcmp(p, b"OK", 2) == 0 and not self.begun:
            self.begun = True
            return 0
        for word in (b"BUSY", b"ERROR", b"CLIENT_ERROR", b"SERVER_ERROR", b"BADCLASS"):
            if p[:n].startswith(word):
                self.refusal = p[:n].decode("ascii", "backslashreplace")
                self.ended = True
                return 0
        raise ProtocolError(f"a line that belongs to no listing: {p[:min(n, 60)].decode('ascii', 'backslashreplace')}")

    cdef size_t head_bytes(self) noexcept:
        return HEADER_BYTES + DATES_BYTES if self.is_dated else HEADER_BYTES

    cdef int keep(self, const unsigned char *key, Listed *listed) except -1:
        cdef int copy, owner
        cdef unsigned char *p
        self.begun = True
        self.tally.listed += 1
        owner = self.placement.owner_and_copy(key, listed.length, &copy)
        if copy >= 0 and self.placement.backup_count:
            copy += self.placement.server_count
        if copy != self.target if self.source == self.target else not (
            (owner == self.target and copy == self.source) or (owner == self.source and copy == self.target)
        ):
            return 0
        p = self.queue.room(HEADER_BYTES + DATES_BYTES + listed.length)
        p[0] = listed.length
        p[1] = listed.is_binary
        if self.is_dated:
            memcpy(p + HEADER_BYTES, &listed.expires_s, 8)
            memcpy(p + HEADER_BYTES + 8, &listed.cas, 8)
        memcpy(p + self.head_bytes(), key, listed.length)
        self.queue.filled(self.head_bytes() + listed.length)
        self.waiting += 1
        self.tally.kept += 1
        return 0

    def take(self, Route route not None, size_t most):
        """A batch of the keys that have waited longest."""
        cdef Batch batch = Batch(route)
        cdef Listed listed = Listed(UNKNOWN, 0, 0, False)
        cdef const unsigned char *p
        while batch.count < most and self.waiting:
            p = self.queue.head()
            if self.is_dated:
                memcpy(&listed.expires_s, p + HEADER_BYTES, 8)
                memcpy(&listed.cas, p + HEADER_BYTES + 8, 8)
            batch.add(p + self.head_bytes(), p[0], p[1], listed.expires_s, listed.cas)
            self.queue.consume(self.head_bytes() + p[0])
            self.waiting -= 1
        return batch
