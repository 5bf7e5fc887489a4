"""What a follower is told without anybody waiting for its answer.

    delete_on        the follower loses a key that it could not follow
    take_back        a server loses what was copied to it too late
    touch_follower   the time to live that a gat has given

A follower that is out, or that fails, has the key in its journal afterwards.
"""

cimport cython
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy

from memagent._core.channel cimport Awaiting, Channel, Failure
from memagent._core.marks cimport DECIDED, slot_of
from memagent._core.metrics cimport W_EFFECTS_FAILED, Block
from memagent._core.names cimport base64_of, is_text
from memagent._core.pool cimport Pool
from memagent._core.reply cimport (
    E_DELETE,
    E_MD,
    E_MG,
    E_TOUCH,
    R_CLIENT_ERROR,
    R_ERROR,
    R_SERVER_ERROR,
    Code,
    ReplyParser,
)
from memagent._core.server cimport Server, keep_closed, let_open


@cython.final
cdef class Effect(Awaiting):
    cdef int replied(self, uint32_t part, Code code, const unsigned char *p, size_t n, ReplyParser parser) except -1:
        if code == R_ERROR or code == R_CLIENT_ERROR or code == R_SERVER_ERROR:
            return self.lose()
        return self.end()

    cdef int failed(self, uint32_t part, Failure why, bint sent) except -1:
        return self.lose()

    cdef int lose(self) except -1:
        self.counters.slot[W_EFFECTS_FAILED] += 1
        self.server.missed(self.key, self.key_length)
        return self.end()

    cdef int end(self) except -1:
        self.pool.marks.end(self.slot, self.note)
        return let_open(self.closed)


cdef int tell(Pool pool, Block counters, Server server, const unsigned char *key, size_t length, bytes line,
              int expects) except -1:
    cdef Channel channel = server.channel(key, length)
    cdef Effect effect
    if not server.follows() or not server.has_room(channel):
        server.missed(key, length)
        return 0
    effect = Effect.__new__(Effect)
    effect.pool = pool
    effect.counters = counters
    effect.server = server
    memcpy(effect.key, key, length)
    effect.key_length = length
    effect.slot = slot_of(key, length)
    effect.closed = keep_closed(server)
    effect.note = pool.marks.begin(effect.slot, server.index, key, length, DECIDED)
    channel.append(line, len(line))
    channel.append(b"\r\n", 2)
    return channel.ticket(effect, 0, expects, server.deadline())


cdef int delete_on(Pool pool, Block counters, Server server, const unsigned char *key, size_t length) except -1:
    if is_text(key, length):
        return tell(pool, counters, server, key, length, b"delete " + key[:length], E_DELETE)
    return tell(pool, counters, server, key, length, b"md %b b" % base64_of(key, length), E_MD)


cdef int take_back(Pool pool, Block counters, Server server, const unsigned char *key, size_t length,
                   uint64_t cas) except -1:
    """Delete what was copied there, if it is still that: where the server has told its cas unique."""
    cdef bytes line
    if cas == 0:
        return delete_on(pool, counters, server, key, length)
    line = b"md %b" % key[:length] if is_text(key, length) else b"md %b b" % base64_of(key, length)
    return tell(pool, counters, server, key, length, line + b" C%d" % cas, E_MD)


cdef int touch_follower(Pool pool, Block counters, Server server, const unsigned char *key, size_t length,
                        bytes exptime) except -1:
    if is_text(key, length):
        return tell(pool, counters, server, key, length, b"touch %b %b" % (key[:length], exptime), E_TOUCH)
    return tell(pool, counters, server, key, length, b"mg %b b T%b" % (base64_of(key, length), exptime), E_MG)
