"""A retrieval of several keys, split over servers and put together again.

    get a b c d e          server 1:  get a d\\r\\n    part 0: VALUE d .. END
                    ──▶    server 2:  get b c e\\r\\n  part 1: VALUE b .. VALUE e .. END     ──▶  VALUE b, d, e, END

Invariants (behaviour section 2, multiget):
- One line per server, split where it would be too long (`limits`); all lines leave in the same turn.
- The reply is memcached's own: items in the order of the request, a key asked for twice is answered twice.
- What cannot be had is a miss and is counted; never an error line between VALUE lines.
- An item is taken only for a key that its server was asked for, in the order in which it was asked.
"""

cimport cython
from libc.stdint cimport uint32_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcmp, memcpy

from memagent._core.buffer cimport Buffer
from memagent._core.channel cimport Channel, Failure
from memagent._core.exchange cimport Exchange
from memagent._core.limits cimport GAT_LINE_BYTES, GET_LINE_BYTES
from memagent._core.metrics cimport (
    S_BUSY_REJECTIONS,
    S_DOWN_REJECTIONS,
    S_GET_HITS,
    S_GET_MISSES,
    W_FRAGMENTS,
    W_GET_HITS,
    W_GET_MISSES,
    W_MISSES_DEADLINE,
    W_MISSES_SERVER_DOWN,
    W_MISSES_SERVER_FAILED,
    W_MULTIGETS,
    W_TOUCH_HITS,
    W_TOUCH_MISSES,
)
from memagent._core.pool cimport Pool
from memagent._core.reply cimport E_VALUES, R_VALUES, Code, Item, ReplyParser
from memagent._core.request cimport V_GAT, RequestParser, verb_name
from memagent._core.server cimport Server


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
        cdef size_t text_start = request.keys[0].start
        cdef size_t text_length = request.body_end - text_start
        cdef list touched = []
        cdef Server server
        cdef Channel channel
        cdef Wanted *wanted
        cdef uint32_t i
        self.pool = pool
        self.n_keys = <uint32_t> request.n_keys
        self.text = <unsigned char *> malloc(text_length)
        self.wanted = <Wanted *> malloc(self.n_keys * sizeof(Wanted))
        if self.text == NULL or self.wanted == NULL:
            raise MemoryError
        memcpy(self.text, p + text_start, text_length)
        self.counters.slot[W_MULTIGETS] += 1
        self.outstanding = 1
        for i in range(self.n_keys):
            wanted = &self.wanted[i]
            wanted.start = request.keys[i].start - <uint32_t> text_start
            wanted.length = request.keys[i].length
            wanted.part = -1
            wanted.next = self.n_keys
            wanted.item_length = 0
            server = pool.owner(p + request.keys[i].start, wanted.length)
            if not server.up:
                server.counters.slot[S_DOWN_REJECTIONS] += 1
                self.counters.slot[W_MISSES_SERVER_DOWN] += 1
                self.missed(1)
                continue
            channel = server.channel(p + request.keys[i].start, wanted.length)
            if channel.line_part < 0:
                if not server.has_room(channel):
                    server.counters.slot[S_BUSY_REJECTIONS] += 1
                    self.counters.slot[W_MISSES_SERVER_FAILED] += 1
                    self.missed(1)
                    continue
                touched.append(channel)
            self.ask(channel, i, request, p)
        for channel in touched:
            if channel.line_part >= 0:
                self.close_line(channel)
        return self.part_done(NULL)

    cdef int ask(self, Channel channel, uint32_t i, RequestParser request, const unsigned char *p) except -1:
        cdef Part *part
        cdef size_t limit = GET_LINE_BYTES if self.verb < V_GAT else GAT_LINE_BYTES
        if channel.line_part >= 0 and channel.appended_total - channel.line_start + self.wanted[i].length > limit:
            self.close_line(channel)
        if channel.line_part < 0:
            self.open_line(channel, request, p)
        part = &self.parts[channel.line_part]
        self.wanted[i].part = channel.line_part
        if part.n_keys:
            self.wanted[part.last_key].next = i
        else:
            part.first_key = i
        part.last_key = i
        part.n_keys += 1
        # with the space that stands before every key
        return channel.append(p + request.keys[i].start - 1, request.keys[i].length + 1)

    cdef int open_line(self, Channel channel, RequestParser request, const unsigned char *p) except -1:
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
        self.parts[self.n_parts].counters = channel.counters.slot
        channel.line_part = self.n_parts
        channel.line_start = channel.appended_total
        self.n_parts += 1
        channel.append(word, len(word))
        if self.verb >= V_GAT:
            channel.append(b" ", 1)
            channel.append(p + request.argument.start, request.argument.length)
        return 0

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
        cdef Part *part = &self.parts[number]
        cdef uint32_t i = part.first_key
        cdef size_t found = 0
        cdef Item *item
        if self.done:
            return 0
        if code != R_VALUES:
            part.done = True
            self.missed(part.n_keys)
            self.counters.slot[W_MISSES_SERVER_FAILED] += part.n_keys
            if self.n_parts == 1:
                self.settle(p, n)
                return 0
            return self.part_done(NULL)
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
        part.done = True
        self.answered += 1
        self.counters.slot[W_GET_HITS] += found
        if self.verb >= V_GAT:
            self.counters.slot[W_TOUCH_HITS] += found
        self.missed(part.n_keys - <uint32_t> found)
        part.counters[S_GET_HITS] += found
        part.counters[S_GET_MISSES] += part.n_keys - found
        if self.n_parts == 1:
            self.settle(p, n)
            return 0
        if self.outstanding > 1 and found:
            part.data = <unsigned char *> malloc(n)
            if part.data == NULL:
                raise MemoryError
            memcpy(part.data, p, n)
            part.length = n
            self.memory.used_bytes += n
            return self.part_done(NULL)
        return self.part_done(p)

    cdef int failed(self, uint32_t number, Failure why, bint sent) except -1:
        cdef Part *part = &self.parts[number]
        cdef uint32_t i = part.first_key
        if self.done:
            return 0
        while i != self.n_keys:
            # found in a reply of which only a later item showed that it is garbage
            self.wanted[i].item_length = 0
            i = self.wanted[i].next
        part.done = True
        self.missed(part.n_keys)
        self.counters.slot[W_MISSES_SERVER_FAILED] += part.n_keys
        return self.part_done(NULL)

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
                reply.append(data + wanted.item_start, wanted.item_length)
        reply.append(b"END\r\n", 5)
        return self.settle(reply.head(), reply.length())

    cdef int expire(self) except -1:
        """multiget_deadline_ms has passed: what is there is the answer."""
        cdef uint32_t i
        if self.done:
            return 0
        for i in range(self.n_parts):
            if not self.parts[i].done:
                self.missed(self.parts[i].n_keys)
                self.counters.slot[W_MISSES_DEADLINE] += self.parts[i].n_keys
        return self.finish(NULL)
