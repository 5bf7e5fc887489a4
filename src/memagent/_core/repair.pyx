"""An item copied from one of its servers to the other, whole: value, flags, time to live and, where it can be, cas.

    (CLEARING: delete) ─▶ WAITING ──▶ READING: mg, gets ──▶ ADDING: ms ME, add ──▶ done
       a wrong value        ▲ until nobody writes it          │                      │
                            └──── a write has begun ◀─────────┴──── taken back ◀─────┘

Who asks for one: a retrieval that fell back, a write whose follower could not follow, a conditional request that found
nothing where a copy has it (it waits), and a server's return for every key of its journal (refill).

Invariants (behaviour section 2, repair):
- Add semantics: what is newer on the target stays. A value that is known to be wrong is deleted first and never written
  over.
- What a write may have overtaken is taken back (marks.pyx), and done again.
- Whoever waits for a repair is not counted as writing: two of them would wait for each other.
- An item without a known time to live gets `repair_ttl_s`, never an endless one.
"""

cimport cython
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memchr

from memagent._core.cas cimport GLOBAL_CAS
from memagent._core.channel cimport Channel, Failure
from memagent._core.effect cimport delete_on, take_back
from memagent._core.exchange cimport Exchange
from memagent._core.marks cimport DECIDED, FLUSH_MARK, IN_DOUBT, is_quiet, slot_of
from memagent._core.metrics cimport (
    S_REFILLS,
    W_REPAIRS,
    W_REPAIRS_FAILED,
    W_REPAIRS_REFUSED,
    W_REPAIRS_UNDONE,
    Block,
)
from memagent._core.names cimport base64_of, is_text
from memagent._core.pool cimport Pool
from memagent._core.reply cimport (
    E_DELETE,
    E_MD,
    E_MG,
    E_MS,
    E_STORAGE,
    E_VALUES,
    R_DELETED,
    R_EN,
    R_HD,
    R_NF,
    R_NOT_FOUND,
    R_NOT_STORED,
    R_NS,
    R_STORED,
    R_VA,
    R_VALUES,
    Code,
    ReplyParser,
    meta_flag,
)
from memagent._core.server cimport Server, keep_closed, let_open
from memagent._core.timers cimport Hurried

cdef enum:
    MOST_REPAIRS = 4096       # under way: one more is left to the next reader
    MOST_REFILLS = 128        # under way at once
    MOST_TRIES = 20
    MOST_PAUSES = 200         # a key that is written all the time is left to its next reader: a return must end
    GRACE_US = 250_000        # a mark that has not moved for longer than a request may take was left open by a dead worker
    LONGEST_RELATIVE_S = 60 * 60 * 24 * 30  # memcached takes a larger number for a time of day


cdef Repair make(Pool pool, Block counters, Server source, Server target, bytes key):
    cdef Repair made = Repair.__new__(Repair)
    made.pool = pool
    made.counters = counters
    made.source = source
    made.target = target
    made.key = key
    made.name = key if is_text(key, len(key)) else base64_of(key, len(key)) + b" b"
    made.slot = slot_of(key, len(key))
    return made


cdef int repair(Pool pool, Block counters, Server source, Server target, const unsigned char *key, size_t length) except -1:
    """Copy the item in the background, unless that is being done."""
    cdef bytes name = key[:length]
    if name in pool.repairing:
        return 0
    if len(pool.repairing) >= MOST_REPAIRS:
        counters.slot[W_REPAIRS_FAILED] += 1
        return 0
    return make(pool, counters, source, target, name).start()


cdef int repair_for(Exchange then, Pool pool, Block counters, Server source, Server target, const unsigned char *key,
                    size_t length) except -1:
    """Copy the item; `then.repaired` is told whether the target has one."""
    cdef Repair made = make(pool, counters, source, target, key[:length])
    made.then = then
    return made.start()


cdef int overwrite(Pool pool, Block counters, Server source, Server target, const unsigned char *key,
                   size_t length) except -1:
    """The target has another value than the source, whose value counts; where that cannot be copied it gets none."""
    cdef bytes name = key[:length]
    if name in pool.repairing or len(pool.repairing) >= MOST_REPAIRS:
        return delete_on(pool, counters, target, key, length)
    return make(pool, counters, source, target, name).clear()


def refill(Pool pool not None, Block counters not None, Server target not None, bytes key not None):
    """A key of the journal has been deleted on `target`: fetch it from its other server, in its turn."""
    cdef Server owner = pool.owner(key, len(key))
    cdef Server copy = pool.copy(key, len(key))
    cdef Server source = copy if target is owner else owner
    cdef Repair made
    if source is None or (target is not owner and target is not copy) or (pool.only_mirrors and source is copy):
        return
    made = make(pool, counters, source, target, key)
    made.refills = True
    target.refilling += 1
    target.counters.slot[S_REFILLS] += 1
    pool.refills.append(made)
    go_on(pool)


cdef int go_on(Pool pool) except -1:
    """Start refills that wait, as many as may be under way."""
    cdef Repair first
    while pool.refills and pool.n_refilling < MOST_REFILLS:
        first = pool.refills.popleft()
        pool.n_refilling += 1
        first.start()
    return 0


@cython.final
cdef class Repair(Hurried):
    cdef int clear(self) except -1:
        """Begin with the target's wrong value: a write like any other."""
        cdef Channel channel = self.target.channel(self.key, len(self.key))
        cdef bytes line
        self.pool.repairing.add(self.key)
        if not self.target.follows() or not self.target.has_room(channel):
            self.target.missed(self.key, len(self.key))
            return self.give_up()
        self.step = CLEARING
        self.closed = keep_closed(self.target)
        self.note = self.pool.marks.begin(self.slot, self.target.index, self.key, len(self.key), DECIDED)
        line = b"%b %b\r\n" % (b"delete" if self.name is self.key else b"md", self.name)
        channel.append(line, len(line))
        return channel.ticket(self, 0, E_DELETE if self.name is self.key else E_MD, self.target.deadline())

    cdef int cleared(self, bint is_gone) except -1:
        if not is_gone:
            self.target.missed(self.key, len(self.key))
        self.pool.marks.end(self.slot, self.note)
        return self.start() if is_gone else self.give_up()

    cdef int start(self) except -1:
        cdef Channel channel = self.source.channel(self.key, len(self.key))
        cdef bytes line
        cdef int64_t now_us = self.source.turn.now_us
        cdef uint64_t mark = self.pool.marks.read(self.slot)
        cdef uint64_t flush_mark = self.pool.marks.read(FLUSH_MARK)
        if self.tries == 0 or mark != self.mark or flush_mark != self.flush_mark:
            self.since_us = now_us
        self.mark = mark
        self.flush_mark = flush_mark
        self.tries += 1
        self.pool.repairing.add(self.key)
        if (
            not (is_quiet(flush_mark) and (is_quiet(mark) or self.pool.marks.are_all(IN_DOUBT, self.slot, False)))
            and now_us - self.since_us < self.source.request_timeout_us + GRACE_US
        ):
            return self.wait() if self.tries < MOST_PAUSES else self.give_up()
        if (
            not self.source.clean_for_all() or not self.source.has_room(channel)
            or not (self.source.meta or self.name is self.key)
        ):
            return self.give_up()
        self.step = READING
        self.hurry(self.source)
        if self.source.meta:
            line = b"mg %b t f c v\r\n" % self.name
            channel.append(line, len(line))
            return channel.ticket(self, 0, E_MG, self.source.deadline())
        channel.append(b"gets ", 5)
        channel.append(self.key, len(self.key))
        channel.append(b"\r\n", 2)
        return channel.ticket(self, 0, E_VALUES, self.source.deadline())

    cdef int wait(self) except -1:
        """Somebody writes the key: a little later."""
        self.step = WAITING
        self.hurry(self.source)
        return self.pool.timers.pause(self)

    cdef int resume(self) except -1:
        return self.start()

    cdef int again(self) except -1:
        """A write has come in between."""
        return self.wait() if self.tries < MOST_TRIES else self.give_up()

    cdef bint moved(self) noexcept:
        """Has a write begun since the marks were read?"""
        return (
            <uint32_t> self.mark != <uint32_t> self.pool.marks.read(self.slot)
            or <uint32_t> self.flush_mark != <uint32_t> self.pool.marks.read(FLUSH_MARK)
        )

    cdef int replied(self, uint32_t part, Code code, const unsigned char *p, size_t n, ReplyParser parser) except -1:
        cdef int64_t cas = 0
        if self.step == CLEARING:
            self.cleared(code == R_DELETED or code == R_NOT_FOUND or code == R_HD or code == R_NF)
            return 0
        if self.step == ADDING:
            self.pool.marks.forget(self.note)
        if self.step == READING:
            if code == R_EN or (code == R_VALUES and parser.n_items == 0):
                self.tell(False)
                self.finish()
                return 0
            if code != R_VA and code != R_VALUES:
                self.give_up()
                return 0
            if self.moved():
                self.again()
                return 0
            self.add(code, p, parser)
            return 0
        if code == R_NS or code == R_NOT_STORED:
            self.counters.slot[W_REPAIRS_REFUSED] += 1
            self.tell(True)
            self.finish()
        elif code == R_HD or code == R_STORED:
            if self.moved():
                self.counters.slot[W_REPAIRS_UNDONE] += 1
                if code == R_HD:
                    meta_flag(p, parser.flags_start, parser.flags_length, 99, &cas)
                take_back(self.pool, self.counters, self.target, self.key, len(self.key), <uint64_t> cas)
                self.again()
                return 0
            self.counters.slot[W_REPAIRS] += 1
            self.tell(True)
            self.finish()
        else:
            self.give_up()
        return 0

    cdef int add(self, Code code, const unsigned char *p, ReplyParser parser) except -1:
        """What was read, to the target."""
        cdef int64_t ttl_s = 0
        cdef int64_t flags = 0
        cdef int64_t cas = 0
        cdef bytes head
        cdef bytes line
        cdef const unsigned char *value
        cdef size_t length
        cdef size_t end
        if code == R_VA:
            value = p + parser.value_start
            length = parser.value_length
            if (
                memchr(p + parser.flags_start, 88, parser.flags_length) != NULL  # X: marked stale
                or not meta_flag(p, parser.flags_start, parser.flags_length, 116, &ttl_s)
                or not meta_flag(p, parser.flags_start, parser.flags_length, 102, &flags)
                or not meta_flag(p, parser.flags_start, parser.flags_length, 99, &cas)
                or ttl_s == 0
            ):
                return self.give_up()
            if ttl_s < 0:
                ttl_s = 0
            elif ttl_s > LONGEST_RELATIVE_S:
                ttl_s += self.target.turn.now_us // 1_000_000 + self.target.epoch_offset_s
            line = b"%d" % flags
        else:
            end = parser.items[0].start
            while p[end] != 10:
                end += 1
            _, name, line, size, *_ = p[:end - 1].split(b" ")
            if name != self.key:
                return self.give_up()
            value = p + end + 1
            length = int(size)
            ttl_s = self.pool.repair_ttl_s
        if self.target.meta:
            head = b"ms %b %d T%d F%b%b ME c" % (
                self.name.split(b" ")[0], length, ttl_s, line, b"" if self.name is self.key else b" b"
            )
            if self.target.keeps_cas and cas & GLOBAL_CAS:
                head += b" E%d" % cas
        else:
            head = b"add %b %b %d %d" % (self.key, line, ttl_s, length)
        return self.put(self.target.channel(self.key, len(self.key)), head, value, length)

    cdef int put(self, Channel channel, bytes head, const unsigned char *value, size_t length) except -1:
        if not self.target.follows() or not self.target.has_room(channel) or not (self.target.meta or self.name is self.key):
            return self.give_up()
        self.step = ADDING
        self.note = self.pool.marks.note(self.target.index, self.key, len(self.key), DECIDED)
        self.hurry(self.target)
        channel.append(head, len(head))
        channel.append(b"\r\n", 2)
        channel.append(value, length + 2)
        return channel.ticket(self, 0, E_MS if self.target.meta else E_STORAGE, self.target.deadline())

    cdef int failed(self, uint32_t part, Failure why, bint sent) except -1:
        if self.step == CLEARING:
            return self.cleared(False)
        if self.step == ADDING:
            self.pool.marks.forget(self.note)
            if sent:
                # it may be there now, or come later
                self.target.missed(self.key, len(self.key))
        return self.give_up()

    cdef int hurry(self, Server server) except -1:
        """One more step for whoever waits."""
        return 0 if self.then is None else self.then.hurry(self.pool, server)

    cdef int give_up(self) except -1:
        self.counters.slot[W_REPAIRS_FAILED] += 1
        self.tell(False)
        return self.finish()

    cdef int tell(self, bint present) except -1:
        cdef Exchange then = self.then
        self.then = None
        if then is not None:
            then.repaired(present)
        return 0

    cdef int finish(self) except -1:
        cdef Server closed = self.closed
        self.closed = None
        let_open(closed)
        self.pool.repairing.discard(self.key)
        if self.refills:
            self.refills = False
            self.target.refilling -= 1
            self.pool.n_refilling -= 1
            return go_on(self.pool)
        return 0
