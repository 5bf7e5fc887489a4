"""Do both servers of a key have the same, after two writes at once?

    overlapping writes ─▶ wait until the key is quiet ─▶ get from both ─▶ same: done
                             ▲ written again                          └─▶ differ: the follower gets the authority's value

A worker sends all writes of a key to both servers in one order. Two workers that write it in the same instant may not: then
the servers end with different values, and a failover would show the older one. Every write moves the overlap mark of
its key when it begins and when it ends; one that finds it moved by somebody else in between leaves a doubt.

Invariant: a key is compared only when nobody has written it for QUIET_US, and the comparison counts only if nobody has
begun to write it meanwhile.
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
    QUIET_US = 50_000
    MOST_DELAYS = 1200     # a key that is written for a minute without a pause is left to its next doubt
    MOST_DOUBTS = 10_000


cdef int doubt(Pool pool, Block counters, const unsigned char *key, size_t length) except -1:
    """Compare this key when it is quiet."""
    cdef bytes name = key[:length]
    cdef Doubt made
    if not is_text(key, length) or name in pool.doubted or len(pool.doubted) >= MOST_DOUBTS:
        return 0
    pool.doubted.add(name)
    made = Doubt.__new__(Doubt)
    made.pool = pool
    made.counters = counters
    made.key = name
    made.slot = slot_of(key, length)
    return made.later()


@cython.final
cdef class Doubt(Hurried):
    cdef int later(self) except -1:
        self.delays += 1
        if self.delays > MOST_DELAYS:
            return self.end()
        self.mark = <uint32_t> self.pool.overlaps.read(self.slot)
        self.due_us = (<Server> self.pool.servers[0]).turn.now_us + QUIET_US
        self.pool.doubts.append(self)
        return 0

    cdef int too_late(self) except -1:
        """The pause is over."""
        cdef Server owner
        cdef Server copy
        if self.mark != <uint32_t> self.pool.overlaps.read(self.slot):
            return self.later()
        owner = self.pool.owner(self.key, len(self.key))
        copy = self.pool.copy(self.key, len(self.key))
        self.authority = self.pool.authority(owner, copy)
        if self.authority is None or copy is None:
            return self.end()
        self.follower = copy if self.authority is owner else owner
        if not self.follower.follows():
            # whatever it has, it loses that when it returns
            self.follower.missed(self.key, len(self.key))
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
        if self.failing or self.mark != <uint32_t> self.pool.overlaps.read(self.slot):
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
        self.pool.doubted.discard(self.key)
        return 0
