# cython: cdivision=True
"""A request that changes one key: the authority decides, the follower gets the effect.

    set, delete     ──┬─▶ authority ─▶ its answer is the reply
     (at once)        └─▶ follower     DELETED if any of them has deleted

    add, replace,   ────▶ authority ──┬─ done ──▶ effect ─▶ follower; the reply need not wait, but add's does
    append, incr,        ▲            ├─ not done ────────▶ reply
    cas, touch ...       └─ repaired ─┴─ not there, but perhaps on the follower

    follower out: its journal        authority fails: what is harmless, or was not sent, goes to the follower

Invariants (behaviour section 2):
- Both servers see the writes of one key in the same order: while one that tells the follower later is under way, so does
  every other one of that key (`pool.ordered`).
- A write that the authority may have missed or not is in its journal before its client hears anything.
- A follower that cannot follow loses the key rather than keep an old value.
- `add` is acknowledged by both, for it is used as a lock: whoever has the key on either server keeps it.
"""

cimport cython
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from memagent._core.asked cimport asked, meta_expects
from memagent._core.cas cimport taken_cas
from memagent._core.channel cimport F_BUSY, F_DOWN, F_TIMED_OUT, Channel, Failure
from memagent._core.doubt cimport doubt
from memagent._core.effect cimport delete_on
from memagent._core.exchange cimport Exchange, explain, send
from memagent._core.limits cimport MAX_KEY_BYTES
from memagent._core.marks cimport DECIDED, UNDECIDED, slot_of
from memagent._core.metrics cimport (
    S_BUSY_REJECTIONS,
    S_DOWN_REJECTIONS,
    W_CAS_BADVAL,
    W_CAS_HITS,
    W_CAS_MISSES,
    W_DECR_HITS,
    W_DECR_MISSES,
    W_DELETE_HITS,
    W_DELETE_MISSES,
    W_DIVERGENCES,
    W_EFFECTS_FAILED,
    W_FAILOVERS,
    W_INCR_HITS,
    W_INCR_MISSES,
    W_TOUCH_HITS,
    W_TOUCH_MISSES,
    W_UNKNOWN_OUTCOMES,
    Block,
)
from memagent._core.outcome cimport classic, expects, is_done, tally, words_of
from memagent._core.pool cimport ALWAYS, NEVER, ORDERED_SLOTS, Pool
from memagent._core.repair cimport overwrite, repair, repair_for
from memagent._core.reply cimport (
    E_MS,
    R_DELETED,
    R_EX,
    R_EXISTS,
    R_MORE,
    R_NOT_FOUND,
    R_NOT_STORED,
    R_NUMBER,
    R_STORED,
    R_TOUCHED,
    Code,
    ReplyParser,
)
from memagent._core.request cimport (
    V_ADD,
    V_APPEND,
    V_CAS,
    V_DECR,
    V_DELETE,
    V_INCR,
    V_MG,
    V_MS,
    V_REPLACE,
    V_SET,
    V_TOUCH,
    RequestParser,
    Verb,
    verb_name,
)
from memagent._core.server cimport UP, WARMING, Server, keep_closed, let_open
from memagent._core.text cimport put, put_number
from memagent._core.tokens cimport is_meta_number

cdef enum:
    OWN = 0      # part numbers: the authority's,
    THEIRS = 1   # and the follower's
    SET_LINE_BYTES = MAX_KEY_BYTES + 128
    PATIENCE_US = 250_000  # with a server that is about to open


@cython.final
@cython.no_gc_clear  # __dealloc__ needs `memory` and `pool`
cdef class Mutation(Exchange):
    """set, add, replace, append, prepend, cas, incr, decr, delete or touch; ms, md and ma."""

    def __dealloc__(self):
        if self.text != NULL:
            free(self.text)
            self.memory.used_bytes -= self.text_length
        self.unmark()
        let_open(self.closed)

    cdef int start(self, Pool pool, RequestParser request, const unsigned char *p) except -1:
        cdef Server authority
        cdef size_t length = 0
        cdef const unsigned char *key = request.stored_key(p, &length)
        self.kind = self.verb
        if self.verb >= V_MG:
            self.asked = asked(request, p)
            self.line = self.asked.line
            self.kind = self.asked.twin
            self.value_start = request.value_start
            self.value_length = request.value_length
        if pool.has_copies:
            self.slot = slot_of(key, length)
            pool.marks.fetch(self.slot)
        self.choose(pool, key, length)
        authority = self.authority
        if authority is None:
            self.owner.counters.slot[S_DOWN_REJECTIONS] += 1
            return self.fail(F_DOWN, False)
        if self.must_wait():
            return self.wait(request, p)
        if authority is not self.owner:
            self.counters.slot[W_FAILOVERS] += 1
        if not authority.has_room(authority.channel(self.key, self.key_length)):
            authority.counters.slot[S_BUSY_REJECTIONS] += 1
            return self.fail(F_BUSY, False)
        if pool.has_copies:
            self.has_cas = self.verb == V_CAS or (self.asked is not None and self.asked.has_cas)
            self.take_part()
            self.remember(request, p)
        if self.has_cas:
            self.ask(p)
            return self.rest()
        self.asking = True
        if self.at_once and self.cas and self.asked is None:
            return self.write_both(p)
        if self.cas or self.asked is not None:
            self.write(authority, OWN, self.verb, p)
        else:
            send(authority.channel(self.key, self.key_length), self, OWN, expects(self.verb), authority, request, p)
        if self.at_once:
            self.telling = True
            if self.cas or self.asked is not None:
                self.write(self.follower, THEIRS, self.verb, p)
            else:
                send(self.follower.channel(self.key, self.key_length), self, THEIRS, expects(self.verb), self.follower,
                     request, p)
        return 0

    cdef int choose(self, Pool pool, const unsigned char *key, size_t length) except -1:
        """Authority and follower."""
        cdef int index = -1
        cdef Server owner
        cdef Server copy = None
        pool.owner_index = pool.placement.owner_and_copy(key, length, &index)
        owner = <Server> pool.servers[pool.owner_index]
        self.pool = pool
        self.owner = owner
        self.key = key[:length]
        self.key_length = length
        if not pool.has_copies:
            self.authority = owner if owner.follows() else None
            return 0
        if index >= 0:
            copy = <Server> (pool.backups[index] if pool.backups else pool.servers[index])
        self.authority = pool.authority(owner, copy)
        if copy is not None:
            self.follower = copy if self.authority is owner else owner
        return 0

    cdef bint must_wait(self) except -1:
        """Another server decides than the one that is about to open, and would soon."""
        cdef Server other = self.follower
        if other is None or other.state != WARMING or self.owner.state == UP:
            return False
        self.closed = keep_closed(other)
        if not other.is_about_to_open():
            return False
        if other.turn.now_us - self.started_us >= PATIENCE_US:
            other.standing.call_off()
            if not other.is_about_to_open():
                return False
        self.rest()
        return True

    cdef int wait(self, RequestParser request, const unsigned char *p) except -1:
        """A moment; what the client sends behind it waits too."""
        self.request = request
        if self.text == NULL:
            self.keep_text(request, p)
        if self.waiting is not None:
            self.waiting.hold_back()
        return self.pool.timers.pause(self)

    cdef int resume(self) except -1:
        self.hurry(self.pool, self.owner)
        self.request.next(self.text, self.text_length, 0)
        return self.start(self.pool, self.request, self.text)

    cdef int rest(self) except -1:
        """If nothing is under way any more, the server that was to wait for that need not."""
        cdef Server closed = self.closed
        if closed is None or self.asking or self.telling or self.repairing:
            return 0
        self.closed = None
        return let_open(closed)

    cdef int take_part(self) except -1:
        """The follower is told at once, in its turn, or by its journal."""
        cdef Server follower = self.follower
        if follower is None:
            return 0
        if not follower.follows() or not follower.has_room(follower.channel(self.key, self.key_length)):
            follower.degraded += 1
            self.left_out = follower
            self.follower = None
        elif (
            (self.kind == V_SET or self.kind == V_DELETE) and not self.has_cas
            and self.pool.ordered[self.slot & (ORDERED_SLOTS - 1)] == 0
        ):
            self.at_once = True
        else:
            self.ordered = True
            self.pool.ordered[self.slot & (ORDERED_SLOTS - 1)] += 1
        return 0

    cdef int remember(self, RequestParser request, const unsigned char *p) except -1:
        """What later steps need of the request, and what copiers must know of it."""
        cdef Server other = self.follower if self.left_out is None else self.left_out
        cdef int i
        for i in range(3):
            self.words[i] = request.words[i]
        self.value_start = request.value_start
        self.value_length = request.value_length
        if other is not None:
            self.mark(other)
        if (
            (self.kind <= V_REPLACE or self.kind == V_CAS)
            and self.authority.keeps_cas and (other is None or other.keeps_cas)
            and (is_meta_number(p, &self.words[1]) and is_meta_number(p, &self.words[0]) if self.asked is None
                 else not self.asked.chooses_cas)
        ):
            self.cas = self.pool.new_cas(self.authority.turn.now_us)
        if self.has_cas:
            self.wanted_cas = self.asked.cas if self.asked is not None else int(
                p[request.words[3].start:request.words[3].start + request.words[3].length]
            )
        if self.ordered and self.text == NULL:
            self.keep_text(request, p)
        return 0

    cdef int keep_text(self, RequestParser request, const unsigned char *p) except -1:
        self.text = <unsigned char *> malloc(request.used)
        if self.text == NULL:
            raise MemoryError
        self.text_length = request.used
        self.memory.used_bytes += self.text_length
        memcpy(self.text, p, self.text_length)
        return 0

    cdef int ask(self, const unsigned char *base) except -1:
        """The authority, with what is kept of the request."""
        cdef uint64_t cas = self.wanted_cas
        cdef bytes reply
        if self.has_cas and not taken_cas(&cas, self.authority, self.authority is self.owner):
            reply = b"EXISTS\r\n" if self.asked is None else self.asked.bare(R_EX)
            return self.own(R_EXISTS, reply, len(reply))
        self.asking = True
        return self.write(self.authority, OWN, self.verb, base)

    cdef int tell(self, const unsigned char *base) except -1:
        """The follower, what the authority has done."""
        cdef Server follower = self.follower
        if not follower.follows() or not follower.has_room(follower.channel(self.key, self.key_length)):
            follower.missed(self.key, self.key_length)
            return 0
        self.telling = True
        self.witness = self.kind == V_ADD and self.pool.fallback != NEVER and follower.whole()
        return self.write(follower, THEIRS, V_SET if self.verb == V_REPLACE or self.verb == V_CAS else self.verb, base)

    cdef int write(self, Server server, uint32_t part, Verb verb, const unsigned char *base) except -1:
        """Send the request as `verb`; `base` is where it begins."""
        cdef Channel channel = server.channel(self.key, self.key_length)
        cdef bytes word
        cdef unsigned char line[SET_LINE_BYTES]
        cdef unsigned char *at
        cdef uint64_t cas = self.wanted_cas
        if self.has_cas:
            taken_cas(&cas, server, server is self.owner)
        if self.asked is not None:
            word = self.asked.effect() if part == THEIRS else self.asked.with_cas(cas) if self.has_cas else self.line
            channel.append(word, len(word))
            if self.cas:
                word = b" E%d" % self.cas
                channel.append(word, len(word))
        elif self.cas:
            at = self.put_set(line, base)
            if verb == V_ADD:
                at = put(at, b" ME", 3)
            elif verb == V_REPLACE:
                at = put(at, b" MR", 3)
            elif verb == V_CAS:
                at = put_number(put(at, b" C", 2), cas)
            return self.give(server, part, line, put(at, b"\r\n", 2) - line, base)
        else:
            word = verb_name(verb)
            channel.append(word, len(word))
            channel.append(b" ", 1)
            channel.append(self.key, self.key_length)
            if verb <= V_CAS:
                word = b" %b %b %d" % (
                    base[self.words[0].start:self.words[0].start + self.words[0].length],
                    base[self.words[1].start:self.words[1].start + self.words[1].length],
                    self.value_length,
                )
                channel.append(word, len(word))
                if verb == V_CAS:
                    word = b" %d" % cas
                    channel.append(word, len(word))
            elif verb != V_DELETE:
                channel.append(b" ", 1)
                channel.append(base + self.words[0].start, self.words[0].length)
        channel.append(b"\r\n", 2)
        if verb <= V_CAS or verb == V_MS:
            channel.append(base + self.value_start, self.value_length + 2)
        if self.asked is not None:
            return channel.ticket(self, part, meta_expects(self.verb, server), server.deadline())
        return channel.ticket(self, part, expects(verb), server.deadline())

    cdef int write_both(self, const unsigned char *base) except -1:
        """A set with a cas unique of ours: the line is the same for both."""
        cdef unsigned char line[SET_LINE_BYTES]
        cdef size_t n = put(self.put_set(line, base), b"\r\n", 2) - line
        self.telling = True
        self.give(self.authority, OWN, line, n, base)
        return self.give(self.follower, THEIRS, line, n, base)

    cdef unsigned char *put_set(self, unsigned char *at, const unsigned char *base) noexcept:
        """`ms` with a cas unique of ours, as far as it is the same whatever the condition."""
        at = put(at, b"ms ", 3)
        at = put(at, self.key, self.key_length)
        at[0] = c' '
        # words that are longer than a number may be have been refused by is_meta_number
        at = put(put_number(at + 1, self.value_length), b" T", 2)
        at = put(at, base + self.words[1].start, self.words[1].length)
        at = put(at, b" F", 2)
        at = put(at, base + self.words[0].start, self.words[0].length)
        return put_number(put(at, b" E", 2), self.cas)

    cdef int give(self, Server server, uint32_t part, const unsigned char *line, size_t n, const unsigned char *p) except -1:
        cdef Channel channel = server.channel(self.key, self.key_length)
        channel.append(line, n)
        channel.append(p + self.value_start, self.value_length + 2)
        return channel.ticket(self, part, E_MS, server.deadline())

    # ---------------------------------------------------------------- what comes back

    cdef int replied(self, uint32_t part, Code code, const unsigned char *p, size_t n, ReplyParser parser) except -1:
        cdef bytes number
        if self.telling and self.asking:
            self.pool.marks.fetch(self.slot)  # the other reply ends it
        code = classic(code, self.kind)
        if code == R_NUMBER and self.pool.has_copies:
            # without v there is no number to compare
            number = p[parser.value_start:parser.value_start + parser.value_length] if self.asked is not None else p[:n]
            if part == OWN:
                self.own_number = number
            else:
                self.follower_number = number
        if part == OWN:
            self.own(code, p, n)
        else:
            self.theirs(code, p, n)
        return self.rest()

    cdef int own(self, Code code, const unsigned char *p, size_t n) except -1:
        """The authority has answered."""
        cdef Server follower = self.follower
        cdef bint done = is_done(code)
        self.asking = False
        self.own_code = code
        if self.marked:
            self.pool.marks.reach(self.note, DECIDED)
        if self.ordered:
            if (
                not done and not self.repaired_before and self.pool.fallback != NEVER
                and self.kind != V_DELETE
                and (code == R_NOT_FOUND or (code == R_NOT_STORED and self.kind != V_ADD))
                and (self.pool.fallback == ALWAYS or not self.owner.readable())
                and follower.whole()
            ):
                # a copy may have it: then it is put back, and the request runs again
                self.repaired_before = self.repairing = True
                self.own_reply = p[:n]
                self.unmark()
                return repair_for(self, self.pool, self.counters, follower, self.authority, self.key, self.key_length)
            if done or self.kind == V_DELETE:
                self.tell(self.text)
            elif self.kind == V_SET:
                delete_on(self.pool, self.counters, follower, self.key, self.key_length)
            self.unorder()
        elif self.at_once and not done and self.kind == V_SET:
            delete_on(self.pool, self.counters, follower, self.key, self.key_length)
        # what was not done, the one that is out has not missed: it may be the only one that has the key
        self.let_in(done or self.kind == V_SET or self.kind == V_DELETE)
        if not self.telling:
            self.complete()
        if self.follower_code != R_MORE:
            self.judge(self.follower_code)
        if self.telling and (self.kind == V_DELETE or self.kind == V_ADD or self.pool.acknowledge_all):
            self.own_reply = p[:n]
            self.hurry(self.pool, follower)
            return 0
        if code == R_NOT_FOUND and self.follower_code == R_DELETED:
            return self.respond_theirs()
        return self.respond(code, p, n)

    cdef int theirs(self, Code code, const unsigned char *p, size_t n) except -1:
        """The follower has answered."""
        self.telling = False
        if self.switched:
            self.complete()
            return self.respond(code, p, n)
        if self.asking:
            self.follower_code = code
            if not is_done(code) or self.asked is not None:
                self.follower_reply = p[:n]
            return 0
        if not self.done and self.witness and code == R_NOT_STORED:
            # somebody has it there: it was not free. A set that has come since is on both, and must be again.
            self.complete()
            overwrite(self.pool, self.counters, self.follower, self.authority, self.key, self.key_length)
            return self.respond(code, p, n)
        self.complete()
        self.judge(code)
        if self.done:
            return 0
        if self.kind == V_DELETE and self.own_code == R_NOT_FOUND and code == R_DELETED:
            return self.respond(code, p, n)
        return self.respond_own()

    cdef int judge(self, Code code) except -1:
        """Does the follower have now what the authority has?"""
        cdef Server follower = self.follower
        cdef bint absent = code == R_NOT_FOUND or (code == R_NOT_STORED and self.kind >= V_APPEND)
        if self.kind == V_DELETE:
            if not is_done(code) and not absent:
                self.counters.slot[W_EFFECTS_FAILED] += 1
                follower.missed(self.key, self.key_length)
            return 0
        if not is_done(self.own_code):
            return 0
        if is_done(code) and (code != R_NUMBER or self.follower_number == self.own_number):
            return 0
        if code == R_NUMBER and self.overlapped:
            # whoever came in between may have been counted on one of them only, so far
            return 0
        if not absent:
            self.counters.slot[W_DIVERGENCES if code == R_NUMBER else W_EFFECTS_FAILED] += 1
            if self.pool.authority(self.owner, follower if self.authority is self.owner else self.authority) is follower:
                return 0
            return overwrite(self.pool, self.counters, self.authority, follower, self.key, self.key_length)
        if follower.state == UP:
            repair(self.pool, self.counters, self.authority, follower, self.key, self.key_length)
        return 0

    cdef int failed(self, uint32_t part, Failure why, bint sent) except -1:
        if part == OWN:
            self.own_failed(why, sent)
            return self.rest()
        self.telling = False
        self.follower.missed(self.key, self.key_length)
        self.complete()
        if self.switched:
            self.fail(why, True)
        elif not self.asking:
            self.respond_own()
        return self.rest()

    cdef int own_failed(self, Failure why, bint sent) except -1:
        cdef bint harmless = self.is_harmless()
        cdef Server authority = self.authority
        self.asking = False
        self.let_in(sent)
        if self.pool.has_copies and (sent or self.at_once):
            authority.missed(self.key, self.key_length)
        if self.at_once:
            self.counters.slot[W_FAILOVERS] += 1
            self.switched = True
            self.blame(authority)
            if self.telling:
                self.hurry(self.pool, self.follower)
                return 0
            self.complete()
            if self.follower_code == R_MORE:
                return self.fail(why, sent)
            return self.respond_theirs()
        if not self.ordered:
            self.complete()
            return self.fail(why, sent)
        self.unorder()
        if (sent and not harmless) or self.done or not self.pool.may_answer(self.follower):
            self.complete()
            return self.fail(why, sent)
        # the other one decides, as if it were the authority
        self.counters.slot[W_FAILOVERS] += 1
        authority.missed(self.key, self.key_length)
        authority.degraded += 1
        self.left_out = authority
        self.blame(authority)
        self.authority = self.follower
        self.follower = None
        self.hurry(self.pool, self.authority)
        return self.ask(self.text)

    cdef int let_in(self, bint has_missed) except -1:
        """The authority's answer is known: whoever was left out may return as soon as it has played that."""
        if self.left_out is not None:
            if has_missed:
                self.left_out.missed(self.key, self.key_length)
            self.left_out.degraded -= 1
            self.left_out = None
        return 0

    cdef int repaired(self, bint present) except -1:
        self.repairing = False
        if present and not self.done and self.authority.follows():
            self.mark(self.follower)
            self.hurry(self.pool, self.authority)
            self.ask(self.text)
        else:
            self.own(self.own_code, self.own_reply, len(self.own_reply))
        return self.rest()

    cdef int too_late(self) except -1:
        if self.done:
            return 0
        if self.telling and not self.switched and not self.asking:
            self.follower.missed(self.key, self.key_length)
            return self.respond_own()
        if not self.asking and not self.repairing:
            return self.respond_own()
        return self.fail(F_TIMED_OUT, not self.repairing)

    # ---------------------------------------------------------------- the end

    cdef int respond_own(self) except -1:
        return self.respond(self.own_code, self.own_reply, len(self.own_reply)) if self.own_reply is not None else 0

    cdef int respond_theirs(self) except -1:
        if self.follower_reply is not None:
            return self.respond(self.follower_code, self.follower_reply, len(self.follower_reply))
        if self.kind == V_SET:
            return self.respond(R_STORED, b"STORED\r\n", 8)
        return self.respond(R_DELETED, b"DELETED\r\n", 9)

    cdef int respond(self, Code code, const unsigned char *p, size_t n) except -1:
        """Count, and answer the client, if that has not been done."""
        cdef Verb verb = self.kind
        cdef Block counters = self.counters
        cdef bytes words = None
        if self.done:
            return 0
        if verb == V_DELETE:
            tally(counters, code, R_DELETED, W_DELETE_HITS, W_DELETE_MISSES)
        elif verb == V_INCR:
            tally(counters, code, R_NUMBER, W_INCR_HITS, W_INCR_MISSES)
        elif verb == V_DECR:
            tally(counters, code, R_NUMBER, W_DECR_HITS, W_DECR_MISSES)
        elif verb == V_TOUCH:
            tally(counters, code, R_TOUCHED, W_TOUCH_HITS, W_TOUCH_MISSES)
        elif verb == V_CAS:
            if code == R_STORED:
                counters.slot[W_CAS_HITS] += 1
            elif code == R_EXISTS:
                counters.slot[W_CAS_BADVAL] += 1
            elif code == R_NOT_FOUND:
                counters.slot[W_CAS_MISSES] += 1
        if self.asked is not None:
            words = self.asked.shown(p, n, self.authority, self.authority is self.owner, self.pool.has_copies)
            self.quiet |= self.asked.hidden != 0 and is_done(code)
        elif self.cas:
            words = words_of(code)
        if words is not None:
            return self.settle(words, len(words))
        return self.settle(p, n)

    cdef int fail(self, Failure why, bint sent) except -1:
        cdef Server server = self.owner if self.authority is None else self.authority
        if self.done:
            return 0
        if why == F_BUSY:
            return self.settle_text("SERVER_ERROR server busy")
        if sent and not self.is_harmless():
            self.counters.slot[W_UNKNOWN_OUTCOMES] += 1
            return self.settle_text(f"SERVER_ERROR unknown outcome: {explain(server, why)}")
        return self.settle_text(f"SERVER_ERROR {explain(server, why)}")

    cdef bint is_harmless(self) noexcept:
        """May it be done twice?"""
        return (
            (self.kind == V_SET or self.kind == V_DELETE or self.kind == V_TOUCH)
            and (self.asked is None or not self.asked.has_cas)
        )

    cdef void mark(self, Server other) noexcept:
        """Copiers and other workers' readers of this key shall know that it is being written."""
        if not self.marked:
            self.marked = True
            self.note = self.pool.marks.begin(self.slot, other.index, self.key, self.key_length, UNDECIDED)
            self.others = self.pool.marks.read_others(self.slot)

    cdef void unmark(self) noexcept:
        if self.marked:
            self.marked = False
            self.pool.marks.end(self.slot, self.note)

    cdef void blame(self, Server authority) noexcept:
        """It has failed: the other one decides."""
        if self.marked:
            self.pool.marks.blame(self.note, authority.index)

    cdef int complete(self) except -1:
        """Both servers have answered, or never will."""
        if self.marked and self.pool.marks.others_moved(self.slot, self.others):
            # that worker may have sent its write in between: in another order to each server
            self.overlapped = True
        if self.overlapped and not (self.own_number and self.own_number == self.follower_number):
            doubt(self.pool, self.counters, self.authority, self.key, self.key_length)
        self.unmark()
        return 0

    cdef int unorder(self) except -1:
        """The follower has been told, or will not be: others need not wait for that."""
        if self.ordered:
            self.ordered = False
            self.pool.ordered[self.slot & (ORDERED_SLOTS - 1)] -= 1
        return 0
