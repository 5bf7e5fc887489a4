"""One request under way: a small state machine whose events are replies and failures, and whose end is `settle`.

              start                 replied / failed               settle
    request ─────────▶ asking(who) ─────────────────▶ next step? ─────────▶ waiting.settled(reply)
                          ▲                               │ yes
                          └───────────────────────────────┘

`Retrieval` and `Mutation` are about one key, `MultiGet` is split over servers, each in a module of its own; `Broadcast`
goes to every server. What happens after a reply or a failure is decided in these and nowhere else: sockets only report.

Invariants:
- An exchange settles exactly once, whatever happens to its servers; a client's exchanges settle in any order, their
  replies leave in the order of the requests.
- An exchange whose client has gone (`waiting` is None) goes on to its end: its replies are still awaited and dropped.
- Quiet requests are sent as ordinary ones; their replies end here (behaviour section 2, quiet requests).
"""

cimport cython
from libc.stdint cimport int64_t, uint32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from memagent._core.buffer cimport Memory
from memagent._core.channel cimport F_DOWN, F_GARBAGE, F_REFUSED, F_RESET, F_TIMED_OUT, Channel, Failure
from memagent._core.marks cimport FLUSH_MARK
from memagent._core.metrics cimport S_BUSY_REJECTIONS, W_EXCHANGES, W_SERVER_ERRORS, Block
from memagent._core.pool cimport Pool
from memagent._core.reply cimport E_OK, R_OK, Code, ReplyParser
from memagent._core.request cimport RequestParser, Verb
from memagent._core.server cimport Server
from memagent._core.timers cimport Hurried

cdef enum:
    LONGEST_BODY_BYTES = 2000  # memcached closes a connection on a longer line that reaches it in two pieces


cdef class Waiting:
    cdef int settled(self, Exchange exchange, const unsigned char *p, size_t n) except -1:
        """The reply p[0:n] is final."""
        raise NotImplementedError

    cdef int hold_back(self) except -1:
        """A request has not begun yet: none behind it shall, until it has settled."""
        raise NotImplementedError


@cython.no_gc_clear  # __dealloc__ needs `memory`
cdef class Exchange(Hurried):
    cdef int begin(self, Waiting waiting, Block counters, Memory memory, Verb verb, bint quiet, int64_t now_us) except -1:
        """Instead of a constructor with arguments, which would cost a tuple for each request."""
        self.waiting = waiting
        self.counters = counters
        self.memory = memory
        self.verb = verb
        self.quiet = quiet
        self.started_us = now_us
        counters.slot[W_EXCHANGES] += 1
        return 0

    def __dealloc__(self):
        self.let_go()

    cdef int start(self, Pool pool, RequestParser request, const unsigned char *p) except -1:
        """Ask whoever is to be asked first. `request` and p are valid during this call only."""
        raise NotImplementedError

    cdef int repaired(self, bint present) except -1:
        """The repair that this waits for has ended; `present`: the target has the item now."""
        raise NotImplementedError

    cdef int settle(self, const unsigned char *p, size_t n) except -1:
        self.done = True
        self.counters.slot[W_EXCHANGES] -= 1
        if self.waiting is not None:
            self.waiting.settled(self, p, n)
        return 0

    cdef int hurry(self, Pool pool, Server server) except -1:
        """Another step begins at this server: all steps together shall not take much longer than one may."""
        if not self.stepped_us:
            self.stepped_us = pool.timers.turn.now_us
        return pool.timers.hurry(self, self.started_us, server)

    cdef int settle_text(self, str text) except -1:
        cdef bytes reply = text.encode("utf-8", "surrogateescape") + b"\r\n"
        self.counters.slot[W_SERVER_ERRORS] += 1
        return self.settle(reply, len(reply))

    cdef int keep(self, const unsigned char *p, size_t n) except -1:
        """Earlier exchanges of the client are still under way: the reply waits here."""
        self.reply = <unsigned char *> malloc(n)
        if self.reply == NULL:
            raise MemoryError
        memcpy(self.reply, p, n)
        self.reply_length = n
        self.memory.used_bytes += n
        return 0

    cdef void let_go(self) noexcept:
        """The kept reply is not needed any more."""
        if self.reply != NULL:
            free(self.reply)
            self.reply = NULL
            self.memory.used_bytes -= self.reply_length


cdef str explain(Server server, Failure why):
    """What a client and a log are told."""
    if why == F_TIMED_OUT:
        return f"server {server.name} did not answer in time"
    if why == F_RESET:
        return f"server {server.name} closed the connection"
    if why == F_GARBAGE:
        return f"server {server.name} sent what is no reply"
    if why == F_REFUSED:
        return f"server {server.name} cannot be reached"
    return f"server {server.name} is down"


cdef int send(Channel channel, Exchange exchange, uint32_t part, int expected, Server server, RequestParser request,
              const unsigned char *p) except -1:
    """The request as a server shall see it: the needed words and the data block, nothing quiet."""
    cdef size_t length = request.body_end - request.body_start
    cdef bytes body
    if request.body_start == 0 and not request.n_cuts and (
        request.body_end + 2 == request.used or request.body_end + 2 == request.value_start
    ) and p[request.body_end] == 13 and length <= LONGEST_BODY_BYTES:
        # the common case: the client wrote it just so
        channel.append(p, request.used)
    else:
        body = request.sent_line(p) if request.n_cuts else p[request.body_start:request.body_end]
        if length > LONGEST_BODY_BYTES:
            body = b" ".join([word for word in body.split(b" ") if word])
        channel.append(body, len(body))
        channel.append(b"\r\n", 2)
        if request.value_start:
            channel.append(p + request.value_start, request.value_length + 2)
    return channel.ticket(exchange, part, expected, server.deadline())


@cython.final
cdef class Broadcast(Exchange):
    """flush_all: to every server and backup; OK only if all said OK (behaviour section 2).

    A server with several channels gets it on each, behind what its client has written there before; what the client
    writes behind it waits, as it might be quicker.
    """

    cdef int start(self, Pool pool, RequestParser request, const unsigned char *p) except -1:
        cdef Server server
        cdef Channel channel
        cdef uint32_t part = 0
        self.pool = pool
        self.servers = pool.servers + pool.backups
        for server in self.servers:
            if server.follows() and not all([server.has_room(channel) for channel in server.channels]):
                # to flush some of them only would bring back what those have lost
                server.counters.slot[S_BUSY_REJECTIONS] += 1
                return self.settle_text("SERVER_ERROR server busy")
        if pool.has_copies:
            self.holds = True
            pool.marks.hold(FLUSH_MARK)
        self.outstanding = 1
        for part, server in enumerate(self.servers):
            if not server.follows():
                server.missed_flush()
                self.note(f"{explain(server, F_DOWN)}: {'flushed when it returns' if server.has_copies else 'not flushed'}")
                continue
            self.outstanding += server.n_channels
            for channel in server.channels:
                send(channel, self, part, E_OK, server, request, p)
            if server.n_channels > 1 and self.waiting is not None:
                self.waiting.hold_back()
        return self.finish_one()

    cdef int note(self, str trouble) except -1:
        if self.trouble is None:
            self.trouble = trouble
        return 0

    cdef int finish_one(self) except -1:
        self.outstanding -= 1
        if self.outstanding:
            return 0
        if self.holds:
            self.pool.marks.release(FLUSH_MARK)
        if self.trouble is None:
            return self.settle(b"OK\r\n", 4)
        return self.settle_text(f"SERVER_ERROR {self.trouble}")

    cdef int replied(self, uint32_t part, Code code, const unsigned char *p, size_t n, ReplyParser parser) except -1:
        if code != R_OK:
            self.note(
                f"server {(<Server> self.servers[part]).name} refused: {(<bytes> p[:n]).decode('utf-8', 'replace').strip()}"
            )
        return self.finish_one()

    cdef int failed(self, uint32_t part, Failure why, bint sent) except -1:
        (<Server> self.servers[part]).missed_flush()
        self.note(f"{explain(<Server> self.servers[part], why)}: perhaps not flushed")
        return self.finish_one()


@cython.final
cdef class Told(Waiting):
    """Python code that is told the reply."""

    cdef int settled(self, Exchange exchange, const unsigned char *p, size_t n) except -1:
        self.tell(<bytes> p[:n])
        return 0

    cdef int hold_back(self) except -1:
        return 0


def flush(Pool pool not None, Block counters not None, Memory memory not None, tell not None):
    """What a client's flush_all does, of one pool; `tell` is called with the reply, perhaps at once."""
    cdef RequestParser request = RequestParser(0)
    cdef bytes text = b"flush_all\r\n"
    cdef Broadcast made = Broadcast.__new__(Broadcast)
    cdef Told told = Told.__new__(Told)
    told.tell = tell
    request.next(text, len(text), 0)
    made.begin(told, counters, memory, request.verb, False, pool.timers.turn.now_us)
    made.start(pool, request, text)
