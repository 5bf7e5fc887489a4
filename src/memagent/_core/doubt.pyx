"""Do both servers of a key have the same, after two workers have written it at once?

    writes that met ─▶ wait until nobody begins another ─▶ get from both ─▶ same: done
                         ▲ written again                                 └─▶ differ: the follower gets the authority's value

A worker sends all writes of a key to both servers in one order. Two workers that write it in the same instant may not: then
the servers end with different values. A write that finds another worker's mark open, or moved while it was under way,
leaves a doubt, and the doubt keeps the mark open: readers do not take the follower's word before it was compared.

Invariants:
- The value of the server that decided about those writes counts, even if another one is preferred by now.
- The comparison counts only if nobody has begun to write the key meanwhile.
"""

cimport cython
from libc.stdint cimport uint32_t

from memagent._core.channel cimport Channel, Failure
from memagent._core.effect cimport delete_on
from memagent._core.marks cimport slot_of
from memagent._core.metrics cimport W_DIVERGENCES, Block
from memagent._core.names cimport is_text
from memagent._core.pool cimport Hurried, Pool
from memagent._core.repair cimport overwrite, repair
from memagent._core.reply cimport E_VALUES, R_VALUES, Code, ReplyParser
from memagent._core.server cimport UP, Server

cdef enum:
    MOST_DELAYS = 6000     # a key that is written for a minute without a pause is left to its next doubt
    MOST_DOUBTS = 10_000


cdef int doubt(Pool pool, Block counters, Server authority, const unsigned char *key, size_t length) except -1:
    """Compare this key when it is quiet."""
    cdef bytes name = key[:length]
    cdef Doubt made = pool.doubted.get(name)
    if made is not None:
        made.authority = authority
        return 0
    if not is_text(key, length) or len(pool.doubted) >= MOST_DOUBTS:
        return 0
    made = pool.doubted[name] = Doubt.__new__(Doubt)
    made.authority = authority
    made.pool = pool
    made.counters = counters
    made.key = name
    made.slot = slot_of(key, length)
    pool.marks.begin(made.slot)
    return made.later()


@cython.final
cdef class Doubt(Hurried):
    cdef int later(self) except -1:
        self.delays += 1
        if self.delays > MOST_DELAYS:
            return self.end()
        self.begun = self.count()
        return self.pool.pause(self)

    cdef uint32_t count(self) noexcept:
        """Writes begun, by whomever."""
        return <uint32_t> self.pool.marks.read(self.slot)

    cdef int resume(self) except -1:
        cdef Server owner
        cdef Server copy
        cdef Server out = None
        if self.begun != self.count():
            return self.later()
        owner = self.pool.owner(self.key, len(self.key))
        copy = self.pool.copy(self.key, len(self.key))
        self.follower = copy if self.authority is owner else owner
        if not self.follower.follows():
            out = self.follower
        elif not self.authority.follows():
            out = self.authority
        if out is not None:
            # whatever it has, it loses that when it returns
            out.missed(self.key, len(self.key))
            return self.end()
        self.failing = False
        self.outstanding = 3
        self.look(self.authority, 0)
        self.look(self.follower, 1)
        return self.one_done()

    cdef int look(self, Server server, uint32_t part) except -1:
        cdef Channel channel = server.channel(self.key, len(self.key))
        if not server.has_room(channel):
            self.failing = True
            return self.one_done()
        channel.append(b"get ", 4)
        channel.append(self.key, len(self.key))
        channel.append(b"\r\n", 2)
        return channel.ticket(self, part, E_VALUES, server.deadline())

    cdef int replied(self, uint32_t part, Code code, const unsigned char *p, size_t n, ReplyParser parser) except -1:
        if code != R_VALUES:
            self.failing = True
        elif part:
            self.follower_reply = p[:n]
        else:
            self.own_reply = p[:n]
        self.one_done()
        return 0

    cdef int failed(self, uint32_t part, Failure why, bint sent) except -1:
        self.failing = True
        return self.one_done()

    cdef int one_done(self) except -1:
        self.outstanding -= 1
        return 0 if self.outstanding else self.decide()

    cdef int decide(self) except -1:
        cdef bytes own = self.own_reply
        cdef bytes theirs = self.follower_reply
        if self.failing or self.begun != self.count():
            return self.later()
        if own != theirs:
            if own == b"END\r\n":
                self.counters.slot[W_DIVERGENCES] += 1
                delete_on(self.pool, self.counters, self.follower, self.key, len(self.key))
            elif theirs == b"END\r\n":
                if self.follower.state == UP:
                    repair(self.pool, self.counters, self.authority, self.follower, self.key, len(self.key))
            else:
                self.counters.slot[W_DIVERGENCES] += 1
                overwrite(self.pool, self.counters, self.authority, self.follower, self.key, len(self.key))
        return self.end()

    cdef int end(self) except -1:
        del self.pool.doubted[self.key]
        self.pool.marks.end(self.slot)
        return 0
