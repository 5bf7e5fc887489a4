"""One connection's conversation with a server.

                 ┌────────────── tickets, first in first out ──────────────┐
    requests ──▶ │ in flight: sent, reply awaited  │  pending: not yet sent │ ──▶ out ──▶ socket
    replies  ◀── └──▲──────────────────────────────┴────────────────────────┘
                    └── left ◀── socket

Invariants:
- A server answers in the order in which it was asked, so a reply belongs to the first ticket; a reply to nothing that
  was sent, or one that its verb cannot have, is garbage, and nothing more on this connection can be trusted.
- A ticket stays until its reply has come, even when nobody waits any more (timed out, client gone): only so do later
  replies meet their own tickets.
- Deadlines of tickets never decrease from first to last: all requests of a server have the same time. Only where that
  has become shorter may they, until the last one from before is over (`mixed_until_us`); meanwhile all are looked at.
- A request counts as sent once the socket has taken any byte of it.
"""

cimport cython
from cpython.ref cimport Py_DECREF, Py_INCREF, PyObject
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc

from memagent._core.buffer cimport Buffer, Memory
from memagent._core.metrics cimport (
    Block,
    S_ERRORS,
    S_REPLIES,
    S_REQUESTS,
    S_TIMEOUTS,
)
from memagent._core.reply cimport E_BLOCK, R_CLIENT_ERROR, R_ERROR, R_GARBAGE, R_MORE, Code, ReplyParser
from memagent._core.turn cimport Turn


cdef class Awaiting:
    cdef int replied(self, uint32_t part, Code code, const unsigned char *p, size_t n, ReplyParser parser) except -1:
        """The reply has come. Returns 1 when it cannot be the reply to what was asked."""
        raise NotImplementedError

    cdef int failed(self, uint32_t part, Failure why, bint sent) except -1:
        """There will be no reply. `sent`: the server may have done what was asked."""
        raise NotImplementedError


@cython.final
cdef class Channel:
    """`peer` is the Server that this is a way to; it stands here for those who find a channel in turn.channels.

    It says what `latency` is (`Server.configure`).
    """

    def __cinit__(self, object peer, Memory memory not None, Block counters not None, Turn turn not None,
                  ReplyParser parser not None):
        self.peer = peer
        self.out = Buffer(memory)
        self.left = Buffer(memory)
        self.counters = counters
        self.turn = turn
        self.parser = parser
        self.capacity = 64
        self.line_part = -1
        self.tickets = <Ticket *> malloc(self.capacity * sizeof(Ticket))
        if self.tickets == NULL:
            raise MemoryError

    def __dealloc__(self):
        cdef size_t i
        cdef PyObject *awaiting
        self.turn.in_flight -= self.count
        for i in range(self.count):
            awaiting = self.tickets[(self.first + i) & (self.capacity - 1)].awaiting
            if awaiting != NULL:
                Py_DECREF(<object> awaiting)
        free(self.tickets)

    cdef int append(self, const unsigned char *p, size_t n) except -1:
        """Bytes of the request that the next `ticket` stands for."""
        self.out.append(p, n)
        self.appended_total += n
        return 0

    cdef int ticket(self, Awaiting awaiting, uint32_t part, int expects, int64_t deadline_us) except -1:
        """Everything appended since the last ticket is a request; its reply goes to `awaiting`."""
        cdef Ticket *ticket
        if self.count == self.capacity:
            self.grow()
        ticket = &self.tickets[(self.first + self.count) & (self.capacity - 1)]
        Py_INCREF(awaiting)
        ticket.awaiting = <PyObject *> awaiting
        ticket.part = part
        ticket.expects = expects
        ticket.end = self.appended_total
        ticket.asked_us = self.turn.now_us
        ticket.deadline_us = deadline_us
        self.count += 1
        self.turn.in_flight += 1
        self.counters.slot[S_REQUESTS] += 1
        if not self.dirty:
            self.dirty = True
            self.turn.channels.append(self)
        return 0

    cdef int grow(self) except -1:
        cdef size_t i
        cdef Ticket *tickets = <Ticket *> malloc(2 * self.capacity * sizeof(Ticket))
        if tickets == NULL:
            raise MemoryError
        for i in range(self.count):
            tickets[i] = self.tickets[(self.first + i) & (self.capacity - 1)]
        free(self.tickets)
        self.tickets = tickets
        self.first = 0
        self.capacity *= 2
        return 0

    cdef int sent(self, size_t n) except -1:
        """The socket has taken n bytes of `out`."""
        self.out.consume(n)
        self.sent_total += n
        return 0

    cdef int received(self, const unsigned char *p, size_t n) except -2:
        """Bytes from the server. Returns how many replies they completed, -1 for garbage (`reason`)."""
        cdef Py_ssize_t used
        cdef size_t before = self.count_done
        if self.left.length():
            self.left.append(p, n)
            return self.resume()
        used = self.parse(p, n)
        if used < 0:
            return -1
        if <size_t> used < n:
            self.left.append(p + used, n - used)
        return <int> (self.count_done - before)

    cdef int resume(self) except -2:
        """`left` has grown. Returns as `received` does."""
        cdef Py_ssize_t used
        cdef size_t before = self.count_done
        if self.left.length() < self.need:
            return 0
        used = self.parse(self.left.head(), self.left.length())
        if used < 0:
            return -1
        self.left.consume(used)
        return <int> (self.count_done - before)

    cdef Py_ssize_t parse(self, const unsigned char *p, size_t n) except -2:
        """Hand each whole reply in p[0:n] to its ticket. Returns how many bytes that took, -1 for garbage."""
        cdef size_t at = 0
        cdef Ticket ticket
        cdef Code code
        cdef object awaiting
        cdef int wrong
        if self.count:
            # one sample a batch: how long the first of these replies took
            self.latency_us += (self.turn.now_us - self.tickets[self.first].asked_us - self.latency_us) // 16
        while at < n:
            if self.count == 0 or not self.is_sent(0):
                self.reason = "a reply to nothing"
                return -1
            ticket = self.tickets[self.first]
            code = self.parser.next(p + at, n - at, ticket.expects, self.scanned)
            if code == R_MORE:
                self.scanned = self.parser.scanned
                self.need = self.parser.need
                break
            if code == R_GARBAGE:
                self.reason = self.parser.reason
                return -1
            self.first = (self.first + 1) & (self.capacity - 1)
            self.count -= 1
            self.turn.in_flight -= 1
            self.popped_end = ticket.end
            self.count_done += 1
            self.need = 0
            self.counters.slot[S_REPLIES] += 1
            if self.latency is not None:
                self.latency.add(0, self.turn.now_us - ticket.asked_us)
            if code >= R_ERROR:
                self.counters.slot[S_ERRORS] += 1
            if ticket.awaiting != NULL:
                awaiting = <object> ticket.awaiting
                Py_DECREF(awaiting)
                if self.scanned and code < R_ERROR:
                    # items of earlier scans are not in the parser any more
                    self.parser.next(p + at, n - at, ticket.expects, 0)
                self.scanned = 0
                at += self.parser.used
                wrong = (<Awaiting> awaiting).replied(
                    ticket.part, code, p + at - self.parser.used, self.parser.used, self.parser
                )
                if wrong:
                    self.reason = "a reply about another key"
                    (<Awaiting> awaiting).failed(ticket.part, F_GARBAGE, True)
                    return -1
                if ticket.expects & E_BLOCK and (code == R_ERROR or code == R_CLIENT_ERROR):
                    # refused for its first line: the data block may be read as commands now
                    self.reason = "an error to the first line of a storage request"
                    return -1
            else:
                self.scanned = 0
                at += self.parser.used
        return at

    cdef bint is_sent(self, size_t i) noexcept:
        """Has the socket taken any byte of the request of ticket i?"""
        cdef uint64_t start
        if i >= self.count:
            return False
        start = self.tickets[(self.first + i - 1) & (self.capacity - 1)].end if i else self.popped_end
        return start < self.sent_total

    cdef int expire(self) except -1:
        """Nobody waits longer for requests whose time is over. Returns how many those are."""
        cdef size_t i
        cdef size_t count = self.count
        cdef Ticket *ticket
        cdef object awaiting
        cdef int expired = 0
        for i in range(count):
            ticket = &self.tickets[(self.first + i) & (self.capacity - 1)]
            if ticket.deadline_us > self.turn.now_us:
                if self.mixed_until_us <= self.turn.now_us:
                    break
                continue
            if ticket.awaiting == NULL:
                continue
            awaiting = <object> ticket.awaiting
            ticket.awaiting = NULL
            Py_DECREF(awaiting)
            expired += 1
            self.counters.slot[S_TIMEOUTS] += 1
            # as if it were sent even when it is not: it stands in `out` and may be done yet
            (<Awaiting> awaiting).failed(ticket.part, F_TIMED_OUT, True)
        return expired

    cdef int lost(self, Failure why, bint keep_unsent) except -1:
        """The connection is gone. Fails what was sent on it; the rest stays for the next one if `keep_unsent`."""
        cdef size_t n = 0
        cdef size_t i
        cdef Ticket *tickets
        cdef size_t sent_tickets
        cdef object awaiting
        while n < self.count and self.is_sent(n):
            n += 1
        sent_tickets = n
        if not keep_unsent:
            n = self.count
        tickets = <Ticket *> malloc((n + 1) * sizeof(Ticket))
        if tickets == NULL:
            raise MemoryError
        for i in range(n):
            tickets[i] = self.tickets[(self.first + i) & (self.capacity - 1)]
        if n:
            self.popped_end = tickets[n - 1].end
            self.first = (self.first + n) & (self.capacity - 1)
            self.count -= n
            self.turn.in_flight -= n
        if self.popped_end > self.sent_total:
            # the rest of a request that was sent in part, or all that was never sent
            self.out.consume(self.popped_end - self.sent_total)
            self.sent_total = self.popped_end
        self.left.clear()
        self.scanned = self.need = 0
        # Our own state is in order again before anybody acts on the failure: they may come back here with new requests.
        for i in range(n):
            if tickets[i].awaiting != NULL:
                awaiting = <object> tickets[i].awaiting
                Py_DECREF(awaiting)
                (<Awaiting> awaiting).failed(tickets[i].part, why, i < sent_tickets)
        free(tickets)
        return 0

    cdef size_t pending(self) noexcept:
        """Tickets whose request has not been sent."""
        cdef size_t n = 0
        if self.out.length() == 0:
            return 0
        while n < self.count and not self.is_sent(self.count - 1 - n):
            n += 1
        return n

    cdef bint nobody_waits(self) noexcept:
        """Are all tickets those of requests whose time was over?"""
        cdef size_t i
        for i in range(self.count):
            if self.tickets[(self.first + i) & (self.capacity - 1)].awaiting != NULL:
                return False
        return True

    # The Python face, for tests: a connection without a socket.

    def output(self, Py_ssize_t limit=-1):
        """What would be sent to the server, `limit` bytes at most; counts as sent."""
        content = bytes(self.out)
        if limit >= 0:
            content = content[:limit]
        if content:
            self.sent(len(content))
        return content

    def feed(self, bytes data not None):
        """Bytes from the server: how many replies they completed, -1 for garbage."""
        return self.received(data, len(data))

    def end(self, bint keep_unsent=False):
        """The connection is gone."""
        self.lost(F_RESET, keep_unsent)

    def __len__(self):
        """Tickets."""
        return self.count

    @property
    def not_sent(self):
        """Tickets whose request has not been sent."""
        return self.pending()

    @property
    def trouble(self):
        """Why the last bytes were garbage."""
        return self.reason
