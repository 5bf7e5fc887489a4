"""A retrieval of several keys, split over servers and put together again.

    get a b c d e          server 1:  get a d\\r\\n    part 0: VALUE d .. END
                    ──▶    server 2:  get b c e\\r\\n  part 1: VALUE b .. VALUE e .. END     ──▶  VALUE b, d, e, END
                           backup 2:  get c\\r\\n      part 2: END        (what it missed, or all if it failed)

Invariants (behaviour section 2, multiget):
- One line per server, split where it would be too long (`limits`); all lines leave in the same turn.
- The reply is memcached's own: items in the order of the request, a key asked for twice is answered twice.
- What cannot be had is a miss and is counted; never an error line between VALUE lines.
- Each key may be asked for twice: of its other server when the first has missed it (fallback) or failed (failover).
- What another worker's write may not have reached yet is asked for again, as in retrieval.pyx.
- An item is taken only for a key that its server was asked for, in the order in which it was asked.
"""

cimport cython
from libc.stdint cimport uint32_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcmp, memcpy

from memagent._core.buffer cimport Buffer
from memagent._core.cas cimport show_cas
from memagent._core.channel cimport Channel, Failure
from memagent._core.doubt cimport read_others
from memagent._core.effect cimport touch_follower
from memagent._core.exchange cimport Exchange
from memagent._core.limits cimport GAT_LINE_BYTES, GET_LINE_BYTES
from memagent._core.marks cimport is_quiet, slot_of
from memagent._core.metrics cimport (
    S_BUSY_REJECTIONS,
    S_DOWN_REJECTIONS,
    S_GET_HITS,
    S_GET_MISSES,
    W_FAILOVERS,
    W_FALLBACK_HITS,
    W_FALLBACKS,
    W_FRAGMENTS,
    W_GET_HITS,
    W_GET_MISSES,
    W_MISSES_DEADLINE,
    W_MISSES_SERVER_DOWN,
    W_MISSES_SERVER_FAILED,
    W_READS_AGAIN,
    W_TOUCH_HITS,
    W_TOUCH_MISSES,
)
from memagent._core.pool cimport ALWAYS, NEVER, Pool
from memagent._core.repair cimport repair
from memagent._core.reply cimport E_VALUES, R_VALUES, Code, Item, ReplyParser
from memagent._core.request cimport V_GAT, V_GATS, V_GETS, RequestParser, verb_name
from memagent._core.server cimport Server

cdef enum:
    AT_ONCE = 64


@cython.final
cdef class MultiGet(Exchange):
    """get, gets, gat or gats of more than one key."""

    def __dealloc__(self):
        cdef uint32_t i
        for i in range(self.n_parts):
            if self.parts[i].data != NULL:
                free(self.parts[i].data)
                self.memory.used_bytes -= self.parts[i].length
        free(self.parts)
        free(self.wanted)
        free(self.text)

    cdef int start(self, Pool pool, RequestParser request, const unsigned char *p) except -1:
        cdef size_t text_start = request.keys[0].start - 1  # with the space that stands before every key
        cdef size_t text_length = request.body_end - text_start
        cdef list touched = []
        cdef Wanted *wanted
        cdef uint32_t i
        cdef int owners[AT_ONCE]
        self.pool = pool
        self.n_keys = <uint32_t> request.n_keys
        self.servers = []
        self.text = <unsigned char *> malloc(text_length)
        self.wanted = <Wanted *> malloc(self.n_keys * sizeof(Wanted))
        if self.text == NULL or self.wanted == NULL:
            raise MemoryError
        memcpy(self.text, p + text_start, text_length)
        if self.verb >= V_GAT:
            self.exptime = p[request.argument.start:request.argument.start + request.argument.length]
        if pool.multiget_deadline_us:
            pool.timers.due(self, self.started_us + pool.multiget_deadline_us)
        self.outstanding = 1
        for i in range(self.n_keys):
            wanted = &self.wanted[i]
            wanted.start = request.keys[i].start - <uint32_t> text_start
            wanted.length = request.keys[i].length
            wanted.part = -1
            wanted.next = self.n_keys
            wanted.item_length = 0
            wanted.is_copy = wanted.missed = wanted.again = wanted.careful = wanted.waits = False
            if i % AT_ONCE == 0:
                self.place(i, request, p, owners)
            self.seek(i, owners[i % AT_ONCE], touched)
        return self.close_lines(touched)

    cdef void place(self, uint32_t first, RequestParser request, const unsigned char *p, int *owners) noexcept:
        """The owners of AT_ONCE keys from the first on: hashed together, which costs a fraction."""
        cdef const unsigned char *keys[AT_ONCE]
        cdef size_t lengths[AT_ONCE]
        cdef int count = <int> min(self.n_keys - first, <uint32_t> AT_ONCE), i
        for i in range(count):
            keys[i] = p + request.keys[first + i].start
            lengths[i] = request.keys[first + i].length
        self.pool.placement.owners(keys, lengths, count, owners, NULL)

    cdef int seek(self, uint32_t i, int owner_index, list touched) except -1:
        """Ask for key i where it is first to be had."""
        cdef Pool pool = self.pool
        cdef Wanted *wanted = &self.wanted[i]
        cdef const unsigned char *key = self.text + wanted.start
        cdef Server owner = <Server> pool.servers[owner_index]
        cdef Server server = owner
        pool.owner_index = owner_index  # pool.copy goes by it
        if not owner.readable():
            server = pool.authority(owner, pool.copy(key, wanted.length))
            if server is None:
                owner.counters.slot[S_DOWN_REJECTIONS] += 1
                self.counters.slot[W_MISSES_SERVER_DOWN] += 1
                return self.missed(1)
            if server is not owner:
                wanted.is_copy = True
                self.counters.slot[W_FAILOVERS] += 1
        if owner.is_changing() and pool.has_copies:
            wanted.careful = True
            self.watch(i)
        if self.ask(server, i, touched) or self.seek_again(i, False, touched):
            return 0
        self.counters.slot[W_MISSES_SERVER_FAILED] += 1
        return self.missed(1)

    cdef int watch(self, uint32_t i) except -1:
        """Is another worker writing key i?"""
        cdef Wanted *wanted = &self.wanted[i]
        cdef const unsigned char *key = self.text + wanted.start
        wanted.others = read_others(self.pool, slot_of(key, wanted.length), key, wanted.length, self)
        self.watches = True
        return 0

    cdef bint seek_again(self, uint32_t i, bint was_missed, list touched) except -1:
        """Ask for key i where it may be had as well: its first server has missed it, or has failed."""
        cdef Pool pool = self.pool
        cdef Wanted *wanted = &self.wanted[i]
        cdef const unsigned char *key = self.text + wanted.start
        cdef Server server
        if wanted.again or not pool.has_copies:
            return False
        if was_missed and (pool.fallback == NEVER or (pool.fallback != ALWAYS and not wanted.is_copy)):
            return False
        wanted.again = True
        server = pool.owner(key, wanted.length)
        if not wanted.is_copy:
            server = pool.copy(key, wanted.length)
        if server is None or not (server.whole() if was_missed else pool.may_answer(server)):
            return False
        wanted.is_copy = not wanted.is_copy
        wanted.missed = was_missed
        wanted.careful = True
        self.watch(i)
        self.counters.slot[W_FALLBACKS if was_missed else W_FAILOVERS] += 1
        return self.ask(server, i, touched)

    cdef bint ask(self, Server server, uint32_t i, list touched) except -1:
        """Put key i on a line to this server; false if it is too busy."""
        cdef Wanted *wanted = &self.wanted[i]
        cdef Channel channel = server.channel(self.text + wanted.start, wanted.length)
        cdef Part *part
        cdef size_t limit = GET_LINE_BYTES if self.verb < V_GAT else GAT_LINE_BYTES
        if channel.line_part >= 0:
            if channel.appended_total - channel.line_start + wanted.length > limit:
                self.close_line(channel)
                self.open_line(channel)
        else:
            if not server.has_room(channel):
                server.counters.slot[S_BUSY_REJECTIONS] += 1
                return False
            touched.append(channel)
            self.open_line(channel)
        part = &self.parts[channel.line_part]
        wanted.part = channel.line_part
        wanted.next = self.n_keys
        if part.n_keys:
            self.wanted[part.last_key].next = i
        else:
            part.first_key = i
        part.last_key = i
        part.n_keys += 1
        channel.append(self.text + wanted.start - 1, wanted.length + 1)
        return True

    cdef int open_line(self, Channel channel) except -1:
        cdef bytes word = verb_name(self.verb)
        cdef Part *parts
        if self.n_parts == self.parts_capacity:
            self.parts_capacity = self.parts_capacity * 2 if self.parts_capacity else 8
            parts = <Part *> realloc(self.parts, self.parts_capacity * sizeof(Part))
            if parts == NULL:
                raise MemoryError
            self.parts = parts
        self.parts[self.n_parts].data = NULL
        self.parts[self.n_parts].n_keys = 0
        self.parts[self.n_parts].done = False
        self.servers.append(channel.peer)
        channel.line_part = self.n_parts
        channel.line_start = channel.appended_total
        self.n_parts += 1
        channel.append(word, len(word))
        if self.verb >= V_GAT:
            channel.append(b" ", 1)
            channel.append(self.exptime, len(self.exptime))
        return 0

    cdef int close_lines(self, list touched) except -1:
        """Everything that one event asked for has been asked."""
        cdef Channel channel
        for channel in touched:
            self.close_line(channel)
        return self.part_done(NULL)

    cdef int close_line(self, Channel channel) except -1:
        cdef Server server = <Server> channel.peer
        channel.append(b"\r\n", 2)
        self.outstanding += 1
        self.counters.slot[W_FRAGMENTS] += 1
        channel.ticket(self, channel.line_part, E_VALUES, server.deadline())
        channel.line_part = -1
        return 0

    cdef int missed(self, uint32_t n) except -1:
        self.counters.slot[W_GET_MISSES] += n
        if self.verb >= V_GAT:
            self.counters.slot[W_TOUCH_MISSES] += n
        return 0

    cdef int replied(self, uint32_t number, Code code, const unsigned char *p, size_t n, ReplyParser parser) except -1:
        cdef Server server
        cdef uint32_t i
        cdef uint32_t found
        cdef uint32_t put_off
        cdef Item *item
        if self.done:
            return 0
        self.last_part = number
        if code != R_VALUES:
            self.parts[number].done = True
            if self.n_parts == 1 and not self.pool.has_copies:
                self.missed(self.parts[number].n_keys)
                self.counters.slot[W_MISSES_SERVER_FAILED] += self.parts[number].n_keys
                self.settle(p, n)
                return 0
            return self.go_elsewhere(number, False)
        i = self.parts[number].first_key
        found = 0
        while found < parser.n_items:
            item = &parser.items[found]
            while i != self.n_keys and (
                self.wanted[i].length != item.key_length
                or memcmp(self.text + self.wanted[i].start, p + item.start + 6, item.key_length) != 0
            ):
                i = self.wanted[i].next
            if i == self.n_keys:
                return 1
            self.wanted[i].item_start = item.start
            self.wanted[i].item_length = item.end - item.start
            i = self.wanted[i].next
            found += 1
        self.parts[number].done = True
        self.answered += 1
        put_off = self.put_off(number) if self.watches else 0
        found -= put_off
        self.counters.slot[W_GET_HITS] += found
        if self.verb >= V_GAT:
            self.counters.slot[W_TOUCH_HITS] += found
        server = self.servers[number]
        server.counters.slot[S_GET_HITS] += found
        server.counters.slot[S_GET_MISSES] += self.parts[number].n_keys - found
        if found and self.pool.has_copies and (self.verb >= V_GAT or self.wanted[self.parts[number].first_key].again):
            self.follow_up(number)
        if (found == self.parts[number].n_keys or not self.pool.has_copies) and self.waiting is None:
            self.missed(self.parts[number].n_keys - found)
            if self.n_parts == 1 and not (self.pool.has_copies and (self.verb == V_GETS or self.verb == V_GATS)):
                self.settle(p, n)
                return 0
            if self.outstanding > 1 and found:
                self.hold(number, p, n)
                return self.part_done(NULL)
            return self.part_done(p)
        if found:
            self.hold(number, p, n)
        return self.go_elsewhere(number, True)

    cdef uint32_t put_off(self, uint32_t number) except? 0xffffffff:
        """Leave the keys of this part for later that another worker is writing. How many of them it has found."""
        cdef Wanted *wanted
        cdef uint32_t found = 0
        cdef uint32_t i = self.parts[number].first_key
        while i != self.n_keys:
            wanted = &self.wanted[i]
            if wanted.missed:
                wanted.waits = wanted.item_length != 0 and self.pool.marks.others_moved(
                    slot_of(self.text + wanted.start, wanted.length), wanted.others
                )
            else:
                wanted.waits = wanted.careful and not is_quiet(wanted.others)
            if wanted.waits:
                found += wanted.item_length != 0
                wanted.item_length = 0
                if self.waiting is None:
                    self.waiting = []
                    self.outstanding += 1
                    self.hurry(self.pool, self.servers[number])
                    self.pool.timers.pause(self)
                self.waiting.append(i)
                self.counters.slot[W_READS_AGAIN] += 1
            i = wanted.next
        return found

    cdef int resume(self) except -1:
        cdef list touched = []
        cdef list waiting = self.waiting
        cdef Wanted *wanted
        cdef bint has_failed
        cdef uint32_t i
        if self.done:
            return 0
        self.waiting = None
        for i in waiting:
            wanted = &self.wanted[i]
            has_failed = wanted.again and not wanted.missed
            wanted.missed = wanted.again = wanted.careful = wanted.waits = False
            if has_failed:
                # its first server would take the time that is left
                wanted.is_copy = not wanted.is_copy
                if self.seek_again(i, False, touched):
                    continue
            wanted.is_copy = False
            self.seek(i, self.pool.placement.owner(self.text + wanted.start, wanted.length), touched)
        return self.close_lines(touched)

    cdef int hold(self, uint32_t number, const unsigned char *p, size_t n) except -1:
        """Keep what was received: other parts are not here yet."""
        cdef Part *part = &self.parts[number]
        part.data = <unsigned char *> malloc(n)
        if part.data == NULL:
            raise MemoryError
        memcpy(part.data, p, n)
        part.length = n
        self.memory.used_bytes += n
        return 0

    cdef int go_elsewhere(self, uint32_t number, bint was_missed) except -1:
        """Ask the other servers of those keys that this part does not have."""
        cdef list touched = []
        cdef list lost = []
        cdef uint32_t i = self.parts[number].first_key
        while i != self.n_keys:
            if self.wanted[i].item_length == 0 and not self.wanted[i].waits:
                lost.append(i)
            i = self.wanted[i].next
        for i in lost:
            if not self.seek_again(i, was_missed, touched):
                self.missed(1)
                if not was_missed and not self.wanted[i].missed:
                    self.counters.slot[W_MISSES_SERVER_FAILED] += 1
        if touched:
            self.hurry(self.pool, self.servers[number])
        return self.close_lines(touched)

    cdef int follow_up(self, uint32_t number) except -1:
        """What a hit means to the key's other server: a repair after a fallback, the new time to live after a gat."""
        cdef Pool pool = self.pool
        cdef Server server = self.servers[number]
        cdef Server other
        cdef Wanted *wanted
        cdef uint32_t i = self.parts[number].first_key
        while i != self.n_keys:
            wanted = &self.wanted[i]
            if wanted.item_length and (wanted.missed or self.verb >= V_GAT):
                other = pool.owner(self.text + wanted.start, wanted.length)
                if not wanted.is_copy:
                    other = pool.copy(self.text + wanted.start, wanted.length)
                if wanted.missed:
                    self.counters.slot[W_FALLBACK_HITS] += 1
                    repair(pool, self.counters, server, other, self.text + wanted.start, wanted.length)
                elif other is not None:
                    touch_follower(pool, self.counters, other, self.text + wanted.start, wanted.length, self.exptime)
            i = wanted.next
        return 0

    cdef int failed(self, uint32_t number, Failure why, bint sent) except -1:
        cdef uint32_t i = self.parts[number].first_key
        if self.done:
            return 0
        while i != self.n_keys:
            # found in a reply of which only a later item showed that it is garbage
            self.wanted[i].item_length = 0
            i = self.wanted[i].next
        self.last_part = number
        self.parts[number].done = True
        return self.go_elsewhere(number, False)

    cdef int part_done(self, const unsigned char *borrowed) except -1:
        self.outstanding -= 1
        if self.outstanding:
            return 0
        return self.finish(borrowed)

    cdef int finish(self, const unsigned char *borrowed) except -1:
        """Put the items together. The data of one part may still be where it was received."""
        cdef Buffer reply
        cdef Wanted *wanted
        cdef const unsigned char *data
        cdef bytes item
        cdef bint with_cas = self.pool.has_copies and (self.verb == V_GETS or self.verb == V_GATS)
        cdef uint32_t i
        if self.answered == 0 and not self.pool.miss_when_down:
            return self.settle_text("SERVER_ERROR no server of these keys could be asked")
        reply = Buffer(self.memory)
        for i in range(self.n_keys):
            wanted = &self.wanted[i]
            if wanted.item_length:
                data = self.parts[wanted.part].data
                if data == NULL:
                    data = borrowed
                item = None
                if with_cas:
                    item = show_cas(
                        data + wanted.item_start, wanted.item_length, self.servers[wanted.part], not wanted.is_copy
                    )
                if item is None:
                    reply.append(data + wanted.item_start, wanted.item_length)
                else:
                    reply.append(item, len(item))
        reply.append(b"END\r\n", 5)
        return self.settle(reply.head(), reply.length())

    cdef int too_late(self) except -1:
        """multiget_deadline_ms has passed: what is there is the answer."""
        cdef uint32_t i
        if self.done:
            return 0
        if self.waiting is not None:
            self.missed(<uint32_t> len(self.waiting))
            self.counters.slot[W_MISSES_DEADLINE] += len(self.waiting)
        for i in range(self.n_parts):
            if not self.parts[i].done:
                self.missed(self.parts[i].n_keys)
                self.counters.slot[W_MISSES_DEADLINE] += self.parts[i].n_keys
        return self.finish(NULL)
