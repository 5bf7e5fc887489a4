"""A retrieval of one key: the authority's answer, or the other server's where that is none.

               hit ─────────────────────────────────────────────▶ settle
    authority ─┤ miss ──▶ fallback: the other one ─┬─ hit ──────▶ settle, and repair the one that missed it
               │ failed ─▶ failover: the other one ─┴─ miss, failed ─▶ settle: a miss
               └ or the other one: while another worker writes the key ─▶ pause, and from the beginning

Invariants (behaviour section 2):
- A miss of a server is believed when no whole copy has the key. A server that is being filled is asked second, and only
  if what it has is its own: what was copied to it and not yet verified is never shown.
- What another worker's write may not have reached yet is not shown: neither what the other server has (fallback), nor
  what the preferred one has just after another has been preferred. It is asked for again, in a moment.
- A cas unique is shown so that it can only match the server, and the life of that server, which gave it.
"""

cimport cython
from libc.stdint cimport uint32_t
from libc.string cimport memcmp, memcpy

from memagent._core.asked cimport asked, meta_expects
from memagent._core.cas cimport show_cas
from memagent._core.channel cimport F_BUSY, F_DOWN, F_TIMED_OUT, Channel, Failure
from memagent._core.doubt cimport read_others
from memagent._core.effect cimport touch_follower
from memagent._core.exchange cimport Exchange, explain, send
from memagent._core.marks cimport UNDECIDED, is_quiet, slot_of
from memagent._core.metrics cimport (
    S_BUSY_REJECTIONS,
    S_DOWN_REJECTIONS,
    S_GET_HITS,
    S_GET_MISSES,
    W_FAILOVERS,
    W_FALLBACK_HITS,
    W_FALLBACKS,
    W_GET_HITS,
    W_GET_MISSES,
    W_MISSES_SERVER_DOWN,
    W_MISSES_SERVER_FAILED,
    W_READS_AGAIN,
    W_TOUCH_HITS,
    W_TOUCH_MISSES,
)
from memagent._core.pool cimport ALWAYS, NEVER, Pool
from memagent._core.repair cimport repair
from memagent._core.reply cimport E_VALUES, R_EN, R_HD, R_ME, R_VA, R_VALUES, Code, ReplyParser
from memagent._core.request cimport V_GAT, V_GATS, V_GETS, V_ME, V_MG, RequestParser, verb_name
from memagent._core.server cimport Server


@cython.final
@cython.no_gc_clear  # __dealloc__ needs `pool`
cdef class Retrieval(Exchange):
    """get, gets, gat or gats of one key; mg and me."""

    cdef int start(self, Pool pool, RequestParser request, const unsigned char *p) except -1:
        cdef size_t length = 0
        cdef const unsigned char *key = request.stored_key(p, &length)
        cdef Channel channel
        self.pool = pool
        self.owner = pool.owner(key, length)
        memcpy(self.key, key, length)
        self.key_length = length
        if self.verb >= V_GAT:
            self.note(request, p)
        if not self.pick():
            return 0
        channel = self.server.channel(key, length)
        if self.asked is not None:
            return self.put(channel, self.words())
        return send(channel, self, 0, E_VALUES, self.server, request, p)

    cdef bint pick(self) except -1:
        """Whom to ask first, after `pool.owner` for the key. False: nobody, or another has been asked."""
        cdef Server server = self.owner
        if not server.readable():
            server = self.pool.authority(server, self.pool.copy(self.key, self.key_length))
            if server is None:
                self.owner.counters.slot[S_DOWN_REJECTIONS] += 1
                self.give_up(F_DOWN)
                return False
            if server is not self.owner:
                self.counters.slot[W_FAILOVERS] += 1
        self.server = server
        if self.owner.is_changing() and self.pool.has_copies:
            self.careful = True
            self.watch()
        if not server.has_room(server.channel(self.key, self.key_length)):
            server.counters.slot[S_BUSY_REJECTIONS] += 1
            self.failed(0, F_BUSY, False)
            return False
        return True

    cdef int watch(self) except -1:
        """Is another worker writing the key?"""
        self.slot = slot_of(self.key, self.key_length)
        self.others = read_others(self.pool, self.slot, self.key, self.key_length, self)
        return 0

    cdef bint may_be_old(self) noexcept:
        """Has the server that answers perhaps not met what another worker has written?"""
        if self.missed_by is not None:
            return self.pool.marks.others_moved(self.slot, self.others)
        return self.careful and not is_quiet(self.others)

    cdef int again(self) except -1:
        """Once more, when the other worker may be done."""
        self.counters.slot[W_READS_AGAIN] += 1
        self.hurry(self.pool, self.server)
        return self.pool.timers.pause(self)

    cdef int resume(self) except -1:
        if self.done:
            return 0
        if self.second_asked and self.missed_by is None and self.pool.may_answer(self.server):
            # the first one has failed: it would take the time that is left
            return self.ask(self.server)
        self.missed_by = None
        self.second_asked = self.careful = False
        self.pool.owner(self.key, self.key_length)
        return self.put(self.server.channel(self.key, self.key_length), self.words()) if self.pick() else 0

    cdef bytes words(self):
        """The line that a server is sent."""
        if self.first_line is not None:
            return self.first_line
        return b"%b %b" % (verb_name(self.verb), self.key[:self.key_length]) if self.line is None else self.line

    cdef int note(self, RequestParser request, const unsigned char *p) except -1:
        """What a second step, or a reply, needs of the request; after `pool.owner` for the key."""
        cdef Server copy
        if self.verb >= V_MG:
            self.asked = asked(request, p)
            self.line = self.asked.line
            self.exptime = self.asked.exptime
            if self.asked.vivifies and self.pool.has_copies:
                # nothing shall come to life on one server while the other one has the item
                self.first_line = self.asked.plain()
        else:
            self.line = p[request.body_start:request.body_end]
            self.exptime = p[request.argument.start:request.argument.start + request.argument.length]
        if self.exptime is not None and self.pool.has_copies:
            self.slot = slot_of(self.key, self.key_length)
            copy = self.pool.copy(self.key, self.key_length)
            if copy is not None:
                self.marked = True
                self.note_number = self.pool.marks.begin(self.slot, copy.index, self.key, self.key_length, UNDECIDED)
        return 0

    def __dealloc__(self):
        self.unmark()

    cdef void unmark(self) noexcept:
        if self.marked:
            self.marked = False
            self.pool.marks.end(self.slot, self.note_number)

    cdef int settle(self, const unsigned char *p, size_t n) except -1:
        self.unmark()
        return Exchange.settle(self, p, n)

    cdef int put(self, Channel channel, bytes line) except -1:
        cdef Server server = self.server
        channel.append(line, len(line))
        channel.append(b"\r\n", 2)
        return channel.ticket(
            self, 0, E_VALUES if self.asked is None else meta_expects(self.verb, server), server.deadline()
        )

    cdef int ask(self, Server server) except -1:
        """Once more, and the other one now."""
        cdef Channel channel = server.channel(self.key, self.key_length)
        self.second_asked = True
        self.server = server
        self.careful = True
        self.watch()
        if not server.has_room(channel):
            server.counters.slot[S_BUSY_REJECTIONS] += 1
            return self.failed(0, F_BUSY, False)
        self.hurry(self.pool, server)
        return self.put(channel, self.words())

    cdef Server other(self):
        """The key's other server, if it has not been asked and may be."""
        if self.second_asked or not self.pool.has_copies:
            return None
        self.second_asked = True
        return self.peer()

    cdef Server peer(self):
        """The key's other server."""
        cdef Server copy
        self.pool.owner(self.key, self.key_length)
        copy = self.pool.copy(self.key, self.key_length)
        if copy is None:
            return None
        return self.owner if self.server is copy else copy

    cdef int replied(self, uint32_t part, Code code, const unsigned char *p, size_t n, ReplyParser parser) except -1:
        cdef Server other
        cdef Server server = self.server
        if self.done:
            return 0
        if code == R_HD or code == R_VA or code == R_ME or (code == R_VALUES and parser.n_items):
            if code == R_VALUES and (
                parser.n_items != 1 or parser.items[0].key_length != self.key_length
                or memcmp(p + 6, self.key, self.key_length) != 0
            ):
                return 1
            if self.may_be_old():
                self.again()
                return 0
            server.counters.slot[S_GET_HITS] += 1
            self.counters.slot[W_GET_HITS] += 1
            if self.exptime is not None:
                self.counters.slot[W_TOUCH_HITS] += 1
            if self.missed_by is not None:
                self.counters.slot[W_FALLBACK_HITS] += 1
                repair(self.pool, self.counters, server, self.missed_by, self.key, self.key_length)
            elif self.exptime is not None and self.pool.has_copies:
                other = self.peer()
                if other is not None:
                    touch_follower(self.pool, self.counters, other, self.key, self.key_length, self.exptime)
            self.answer(p, n)
            return 0
        if code == R_VALUES or code == R_EN:
            if self.missed_by is None and self.may_be_old():
                self.again()
                return 0
            server.counters.slot[S_GET_MISSES] += 1
            if self.missed_by is None and self.pool.has_copies and self.pool.fallback != NEVER and (
                self.pool.fallback == ALWAYS or server is not self.owner
            ):
                other = self.other()
                if other is not None and other.whole():
                    self.missed_by = server
                    self.counters.slot[W_FALLBACKS] += 1
                    self.ask(other)
                    return 0
        elif self.missed_by is None:
            # an error line
            other = self.other()
            if other is not None and self.pool.may_answer(other):
                self.counters.slot[W_FAILOVERS] += 1
                self.ask(other)
                return 0
            self.settle(p, n)
            return 0
        if code == R_EN and self.first_line is None:
            self.miss(p, n)
        else:
            self.miss(NULL, 0)
        return 0

    cdef int answer(self, const unsigned char *p, size_t n) except -1:
        cdef bytes reply = None
        if self.asked is not None:
            reply = self.asked.shown(p, n, self.server, self.server is self.owner, self.pool.has_copies)
        elif (self.verb == V_GETS or self.verb == V_GATS) and self.pool.has_copies:
            reply = show_cas(p, n, self.server, self.server is self.owner)
        if reply is not None:
            return self.settle(reply, len(reply))
        return self.settle(p, n)

    cdef int miss(self, const unsigned char *p, size_t n) except -1:
        """p[0:n] is the reply to mg and me, where a server has given one."""
        cdef bytes reply
        cdef Server server = self.server if self.missed_by is None else self.missed_by
        if self.first_line is not None and server is not None and server.follows():
            # neither of them has it: now it may come to life
            self.first_line = None
            self.missed_by = None
            self.careful = False
            self.second_asked = True
            self.server = server
            self.hurry(self.pool, server)
            return self.put(server.channel(self.key, self.key_length), self.line)
        if self.verb != V_ME:
            self.counters.slot[W_GET_MISSES] += 1
            if self.exptime is not None:
                self.counters.slot[W_TOUCH_MISSES] += 1
        if self.asked is None:
            return self.settle(b"END\r\n", 5)
        self.quiet |= self.asked.hides(R_EN)
        if p != NULL:
            return self.answer(p, n)
        reply = self.asked.bare(R_EN)
        return self.settle(reply, len(reply))

    cdef int failed(self, uint32_t part, Failure why, bint sent) except -1:
        cdef Server other
        if self.done:
            return 0
        if self.missed_by is not None:
            # the authority has missed it: that is the answer
            self.first_line = None
            return self.miss(NULL, 0)
        other = self.other()
        if other is not None and self.pool.may_answer(other):
            self.counters.slot[W_FAILOVERS] += 1
            return self.ask(other)
        return self.give_up(why)

    cdef int too_late(self) except -1:
        if self.done:
            return 0
        if self.missed_by is not None:
            self.first_line = None
            return self.miss(NULL, 0)
        return self.give_up(F_TIMED_OUT)

    cdef int give_up(self, Failure why) except -1:
        """Nobody can be asked: a get is a miss unless the pool says otherwise."""
        if why == F_BUSY:
            return self.settle_text("SERVER_ERROR server busy")
        if self.pool.miss_when_down:
            self.counters.slot[W_MISSES_SERVER_DOWN if why == F_DOWN else W_MISSES_SERVER_FAILED] += 1
            self.first_line = None
            return self.miss(NULL, 0)
        return self.settle_text(f"SERVER_ERROR {explain(self.server if self.server is not None else self.owner, why)}")
