"""Do both servers of a key have the same, after two workers have written it at once, or one has died while it wrote?

    writes that met  ─┐
                      ├▶ wait until nobody writes it ──────▶ ask both ─▶ same: done
    notes of the dead ┘    ▲ written again                            └─▶ differ: the follower gets the authority's value

A worker sends all writes of a key to both servers in one order. Two workers that write it in the same instant may not: then
the servers end with different values. A write that finds another worker's mark open, or moved while it was under way,
leaves a doubt, and the doubt keeps the mark open: readers do not take the follower's word before it was compared.

A worker that dies leaves its notes (marks.pyx): keys that one server may have missed, or may have too much of, and that
stand in no journal. Another worker, or its successor, adopts them.

Invariants:
- The value of the server that decided about those writes counts, even if another one is preferred by now.
- The comparison counts only if nobody writes the key, or has begun to meanwhile: a write of a worker that stands still
  makes them differ too, and if the follower lost the key for that, one server only would have it.
- The dead worker's marks, and what its words say of writes elsewhere, end when the doubts have begun. A doubt keeps a mark
  where a client may have been answered. Where none was, either value may be shown, and nobody waits.
- Where a client may have been answered, the other server's value is not used without a comparison: it loses the key.
- What the dead one had sent to a server that stood still may be done just behind the first question: there is a second.
"""

cimport cython
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memchr

from memagent._core.channel cimport Channel, Failure
from memagent._core.effect cimport delete_on
from memagent._core.marks cimport IN_DOUBT, UNDECIDED, UNMARKED, Marks, is_quiet, slot_of
from memagent._core.metrics cimport W_DIVERGENCES, Block
from memagent._core.names cimport base64_of, is_text
from memagent._core.pool cimport Pool
from memagent._core.repair cimport overwrite, repair
from memagent._core.reply cimport E_MG, E_VALUES, R_EN, R_VA, R_VALUES, Code, ReplyParser, meta_flag
from memagent._core.server cimport UP, Server, keep_closed, let_open
from memagent._core.timers cimport Hurried

cdef enum:
    MOST_DELAYS = 6000     # a key that is written for a minute without a pause is left to its next doubt
    MOST_DOUBTS = 10_000   # that live workers have
    CLOCKS_DIFFER_S = 2    # what two servers that were told the same may differ by


cdef int doubt(Pool pool, Block counters, Server authority, const unsigned char *key, size_t length) except -1:
    """Compare this key when it is quiet."""
    cdef bytes name = key[:length]
    cdef Doubt made = pool.doubted.get(name)
    if made is None:
        if len(pool.doubted) >= MOST_DOUBTS:
            return 0
        made = make(pool, counters, authority, name)
        made.hold()
        return made.later()
    made.side_with(authority)
    return made.hold()


def adopt(Marks dead not None, list pools not None, Block counters not None):
    """What a dead worker had under way, by its row: (how many keys it had noted, for how many there was no room)."""
    cdef Server server
    cdef Pool pool
    cdef dict places = {server.index: (pool, server) for pool in pools for server in pool.servers + pool.backups}
    cdef list unended = dead.unended()
    notes, unnoted = dead.take_notes()
    try:
        for number, key, decided in notes:
            if number in places:
                pool, server = places[number]
                follow_up(pool, counters, server, key, decided)
    finally:
        dead.end_all(unended)
        for _, server in places.values():
            server.standing.forget_elsewhere(dead.row)
    return len(notes), unnoted


cdef int follow_up(Pool pool, Block counters, Server server, bytes key, bint decided) except -1:
    """This server may be wrong about the key."""
    cdef Server owner = pool.owner(key, len(key))
    cdef Server copy = pool.copy(key, len(key))
    cdef Server authority = copy if server is owner and not pool.only_mirrors else owner
    cdef Doubt made = pool.doubted.get(key)
    if authority is None or (server is not owner and server is not copy):
        # it is not one of the key's any more
        return 0
    if made is None:
        made = make(pool, counters, authority, key)
        pool.timers.pause(made)
    elif decided and not made.suspects:
        made.side_with(authority)
    made.inherited = True
    if decided:
        made.suspects = True
        made.hold()
    made.begun = made.count()
    return 0


cdef Doubt make(Pool pool, Block counters, Server authority, bytes key):
    cdef Doubt made = Doubt.__new__(Doubt)
    pool.doubted[key] = made
    made.pool = pool
    made.counters = counters
    made.key = key
    made.slot = slot_of(key, len(key))
    made.side_with(authority)
    made.note = pool.marks.note(
        authority.index if made.follower is None else made.follower.index, key, len(key), UNMARKED
    )
    return made


cdef uint64_t read_others(
    Pool pool, uint32_t slot, const unsigned char *key, size_t length, Hurried reader
) except? 0:
    """`Marks.read_others`, where a doubt of ours stands for the others that have left it.

    A reader whose time is over does not wait for what no client can know of yet: either value may be shown, and he would
    have none.
    """
    cdef Doubt ours
    cdef uint64_t others
    if pool.doubted:
        ours = pool.doubted.get(<bytes> key[:length])
        if ours is not None and ours.holds:
            return 1  # begun and not ended
    others = pool.marks.read_others(slot)
    if is_quiet(others) or not pool.timers.nears_its_end(reader):
        return others
    return 0 if pool.marks.are_all(UNDECIDED, slot, True) else others


@cython.final
cdef class Doubt(Hurried):
    cdef int side_with(self, Server authority) except -1:
        """It has decided about the last of those writes."""
        self.authority = authority
        self.find_follower()
        if self.closed is None and self.follower is not None:
            self.closed = keep_closed(self.follower)
        return 0

    cdef int find_follower(self) except -1:
        cdef Server owner = self.pool.owner(self.key, len(self.key))
        self.follower = self.pool.copy(self.key, len(self.key)) if self.authority is owner else owner
        return 0

    cdef int hold(self) except -1:
        """Readers shall not take the follower's word."""
        if not self.holds:
            self.holds = True
            self.pool.marks.hold(self.slot)
            self.pool.marks.reach(self.note, IN_DOUBT)
        return 0

    cdef int later(self) except -1:
        self.delays += 1
        if self.delays > MOST_DELAYS:
            return self.give_up()
        self.begun = self.count()
        return self.pool.timers.pause(self)

    cdef bint nobody_writes(self) noexcept:
        """Has nobody begun to write the key, and everybody ended? Other doubts wait as this one does."""
        return self.begun == self.count() and self.pool.marks.are_all(IN_DOUBT, self.slot, False)

    cdef uint32_t count(self) noexcept:
        """Writes begun, by whomever."""
        return <uint32_t> self.pool.marks.read(self.slot)

    cdef int resume(self) except -1:
        if not self.nobody_writes():
            return self.later()
        self.find_follower()
        if self.follower is None:
            return self.end()
        if not self.follower.follows():
            # whatever it has, it loses that when it returns
            self.follower.missed(self.key, len(self.key))
            return self.end()
        if not self.authority.follows():
            if self.suspects:
                delete_on(self.pool, self.counters, self.follower, self.key, len(self.key))
            else:
                self.authority.missed(self.key, len(self.key))
            return self.end()
        self.by_meta = self.authority.meta and self.follower.meta
        if not self.by_meta and not is_text(self.key, len(self.key)):
            return self.give_up()
        self.failing = False
        self.outstanding = 3
        self.look(self.authority, 0)
        self.look(self.follower, 1)
        return self.one_done()

    cdef int look(self, Server server, uint32_t part) except -1:
        cdef Channel channel = server.channel(self.key, len(self.key))
        cdef bytes line
        if not server.has_room(channel):
            self.failing = True
            return self.one_done()
        if not self.by_meta:
            line = b"get %b\r\n" % self.key
        elif is_text(self.key, len(self.key)):
            line = b"mg %b f t v\r\n" % self.key
        else:
            line = b"mg %b b f t v\r\n" % base64_of(self.key, len(self.key))
        channel.append(line, len(line))
        return channel.ticket(self, part, E_MG if self.by_meta else E_VALUES, server.deadline())

    cdef int replied(self, uint32_t part, Code code, const unsigned char *p, size_t n, ReplyParser parser) except -1:
        cdef Seen *seen = &self.seen[part]
        cdef int64_t flags = 0
        cdef bint stale
        seen.there = code == R_VA or (code == R_VALUES and parser.n_items != 0)
        seen.ttl_s = 0
        if code == R_VA:
            stale = memchr(p + parser.flags_start, 88, parser.flags_length) != NULL  # X
            meta_flag(p, parser.flags_start, parser.flags_length, 102, &flags)
            meta_flag(p, parser.flags_start, parser.flags_length, 116, &seen.ttl_s)
            seen.digest = hash((flags, stale, p[parser.value_start:parser.value_start + parser.value_length]))
        elif code == R_VALUES:
            seen.digest = hash(p[:n])
        elif code != R_EN:
            self.failing = True
        self.one_done()
        return 0

    cdef int failed(self, uint32_t part, Failure why, bint sent) except -1:
        self.failing = True
        return self.one_done()

    cdef int one_done(self) except -1:
        self.outstanding -= 1
        return 0 if self.outstanding else self.decide()

    cdef int decide(self) except -1:
        if self.failing or self.begun != self.count():
            return self.later()
        if self.inherited and not self.looked:
            self.looked = True
            return self.later()
        if not are_alike(&self.seen[0], &self.seen[1]):
            if not self.seen[0].there:
                self.counters.slot[W_DIVERGENCES] += 1
                delete_on(self.pool, self.counters, self.follower, self.key, len(self.key))
            elif self.seen[1].there:
                self.counters.slot[W_DIVERGENCES] += 1
                overwrite(self.pool, self.counters, self.authority, self.follower, self.key, len(self.key))
            elif self.follower.state == UP:
                repair(self.pool, self.counters, self.authority, self.follower, self.key, len(self.key))
        return self.end()

    cdef int give_up(self) except -1:
        """It cannot be compared."""
        self.find_follower()
        if self.inherited and self.follower is not None:
            overwrite(self.pool, self.counters, self.authority, self.follower, self.key, len(self.key))
        return self.end()

    cdef int end(self) except -1:
        del self.pool.doubted[self.key]
        self.pool.marks.forget(self.note)
        if self.holds:
            self.pool.marks.release(self.slot)
        return let_open(self.closed)


cdef bint are_alike(const Seen *one, const Seen *other) noexcept:
    if not (one.there and other.there):
        return one.there == other.there
    return (
        one.digest == other.digest
        and (one.ttl_s < 0) == (other.ttl_s < 0)
        and -CLOCKS_DIFFER_S <= one.ttl_s - other.ttl_s <= CLOCKS_DIFFER_S
    )
