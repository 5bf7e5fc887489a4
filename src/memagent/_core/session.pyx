"""A client's conversation: its requests in, their replies out in the same order.

    socket ──▶ left ──▶ parse ──▶ exchanges, in the order received ──▶ out ──▶ socket
                          ▲          first ─▶ ... ─▶ last                │
                          └── window: not more than these at once ◀──────┘

Invariants:
- Replies leave in the order of the requests (behaviour section 2, order).
- While a batch is under way no more is read from its client, so that its replies leave in few writes and a client can
  neither flood the servers nor make the proxy hold more than `window` replies. The window follows the size of replies.
- A ready reply does not wait longer than BATCH_PATIENCE_US for the rest of its batch.
- An idle session holds no buffer.
"""

cimport cython
from libc.stdint cimport int64_t, uint64_t

from memagent._core.buffer cimport Buffer, Memory
from memagent._core.exchange cimport Broadcast, Exchange, Waiting
from memagent._core.gathering cimport Gathering
from memagent._core.latency cimport (
    L_ADD,
    L_CAS,
    L_DELETE,
    L_GET,
    L_GETS,
    L_INCR,
    L_MA,
    L_MD,
    L_MG,
    L_MS,
    L_MULTIGET,
    L_OTHER,
    L_SET,
    L_TOUCH,
    NOT_TIMED,
    Histograms,
    VerbClass,
)
from memagent._core.limits cimport (
    WINDOW_LARGE_BYTES,
    WINDOW_MAX,
    WINDOW_SMALL_BYTES,
    WINDOW_START,
)
from memagent._core.metrics cimport (
    W_BAD_COMMANDS,
    W_BAD_KEYS,
    W_CLIENT_CLOSED,
    W_CLIENT_CLOSED_PROTOCOL,
    W_CLIENT_ERRORS,
    W_CLIENT_PAUSED,
    W_CMD_FLUSH,
    W_CMD_GET,
    W_CMD_META,
    W_CMD_SET,
    W_CMD_TOUCH,
    W_LINES_TOO_LONG,
    W_MEMORY_PAUSED,
    W_MEMORY_REFUSED,
    W_MULTIGETS,
    W_QUIET_REQUESTS,
    W_REQUESTS,
    W_SERVER_ERRORS,
    W_STORE_TOO_LARGE,
    Block,
)
from memagent._core.multiget cimport MultiGet
from memagent._core.mutation cimport Mutation
from memagent._core.observer cimport Observer
from memagent._core.pool cimport Pool
from memagent._core.request cimport (
    P_FATAL,
    P_MORE,
    P_REQUEST,
    P_TOO_LARGE,
    V_CAS,
    V_FLUSH_ALL,
    V_GAT,
    V_GATS,
    V_ME,
    V_MG,
    V_MN,
    V_MS,
    V_QUIT,
    V_TOUCH,
    V_VERBOSITY,
    V_VERSION,
    Parsed,
    RequestParser,
    Verb,
)
from memagent._core.retrieval cimport Retrieval
from memagent._core.routes cimport Route, Routes
from memagent._core.timers cimport Timers
from memagent._core.turn cimport Turn

cdef enum:
    BATCH_PATIENCE_US = 1000
    FLUSH_BYTES = 64 * 1024   # this much is worth a write of its own
    SMALL_BYTES = 64 * 1024   # a client that holds less than this is not asked to yield its memory

# by Verb
cdef VerbClass CLASSES[V_FLUSH_ALL + 1]
CLASSES[:] = [
    L_GET, L_GETS, L_TOUCH, L_TOUCH, L_SET, L_ADD, L_ADD, L_ADD, L_ADD, L_CAS, L_INCR, L_INCR, L_DELETE, L_TOUCH,
    L_MG, L_MS, L_MD, L_MA, L_OTHER, L_OTHER,
]

cdef bytes OUT_OF_MEMORY = b"SERVER_ERROR out of buffer memory\r\n"


@cython.final
cdef class Context:
    """What all sessions of a worker share. `answer_stats` gets the words behind "stats" and returns the whole reply."""

    def __cinit__(self, Turn turn not None, Memory memory not None, Timers timers not None, Block counters not None, *,
                  object answer_stats=None, bytes version=b"memagent", Observer observer=None, **limits):
        self.turn = turn
        self.memory = memory
        self.counters = counters
        self.timers = timers
        self.observer = Observer(turn) if observer is None else observer
        self.configure(**limits)
        self.answer_stats = answer_stats
        self.version = version

    def configure(self, *, size_t max_item_bytes=1 << 20, size_t pause_bytes=16 << 20, size_t close_bytes=64 << 20):
        """What holds from now on: not from inside a request."""
        self.parser = RequestParser(max_item_bytes)
        self.pause_bytes = pause_bytes
        self.close_bytes = close_bytes

    cdef int expire(self) except -1:
        """End what has taken its time; to be called now and then."""
        self.timers.expire()
        self.observer.tick()
        return 0

    cdef bint waits(self) noexcept:
        """Is there anything that time brings?"""
        return self.timers.waits()

    def pass_time(self):
        """For tests: end what has taken its time at turn.now_us."""
        self.expire()


@cython.final
cdef class Session(Waiting):
    """`routes`: where its requests go."""

    def __cinit__(self, Context context not None, Routes routes not None):
        self.context = context
        self.routes = routes
        self.out = Buffer(context.memory)
        self.left = Buffer(context.memory)
        self.window = WINDOW_START
        self.end_counter = W_CLIENT_CLOSED

    cdef int received(self, const unsigned char *p, size_t n) except -1:
        """Bytes from the client. What is no whole request yet is kept in `left`."""
        cdef Py_ssize_t used
        if self.left.length():
            self.left.append(p, n)
            return self.resume()
        used = self.parse(p, n)
        if <size_t> used < n and not self.closing:
            self.left.append(p + used, n - used)
        return 0

    cdef int resume(self) except -1:
        """`left` has grown, or the window has opened again."""
        cdef Py_ssize_t used
        if self.left.length() == 0:
            return 0
        if self.left.length() < self.need and not self.swallow:
            return 0
        used = self.parse(self.left.head(), self.left.length())
        if self.closing:
            self.left.clear()
        else:
            self.left.consume(used)
        return 0

    cdef bint wants_more(self) noexcept:
        """May more be read from the client now?"""
        cdef Memory memory = self.context.memory
        if self.closing or self.under_way or self.out.length() > self.context.pause_bytes:
            return False
        if self.out.length() > SMALL_BYTES and memory.used_bytes > memory.limit_bytes // 4 * 3:
            # what it has not read yet keeps the buffers full: it is read again when it has
            if not self.paused:
                self.paused = True
                self.context.counters.slot[W_MEMORY_PAUSED] += 1
            return False
        self.paused = False
        return True

    cdef bint must_yield(self) noexcept:
        """The worker's buffers are full: is it this client that fills them? (Behaviour section 5.)"""
        cdef Memory memory = self.context.memory
        return (
            self.out.length() + self.kept_bytes + self.left.length() > SMALL_BYTES
            or memory.used_bytes // 2 > memory.limit_bytes
        )

    cdef bint must_refuse(self, size_t with_reply_bytes) noexcept:
        """A large reply. Before all are refused whatever is large is: who asks for little shall not notice."""
        cdef size_t limit_bytes = self.context.memory.limit_bytes
        return with_reply_bytes > limit_bytes and (self.must_yield() or with_reply_bytes // 3 > limit_bytes // 2)

    cdef Py_ssize_t parse(self, const unsigned char *p, size_t n) except -1:
        """Start all whole requests in p[0:n] that the window allows. Returns how many bytes those are."""
        cdef RequestParser parser = self.context.parser
        cdef Parsed parsed
        cdef size_t at = 0
        cdef size_t length
        while at < n and not self.closing:
            if self.swallow:
                length = min(self.swallow, n - at)
                self.swallow -= length
                at += length
                continue
            if self.under_way and (
                self.under_way >= self.window
                or self.under_way * <size_t> self.reply_bytes + self.out.length() > self.context.pause_bytes
            ):
                break
            parsed = parser.next(p + at, n - at, self.searched)
            if parsed == P_MORE:
                self.need = parser.need
                self.searched = 0 if parser.need else n - at
                break
            self.searched = self.need = 0
            if parsed == P_REQUEST:
                self.dispatch(p + at)
                at += parser.used
                continue
            self.refuse(parsed)
            if parsed == P_FATAL:
                self.closing = True
                self.end_counter = W_CLIENT_CLOSED_PROTOCOL
                break
            if parsed == P_TOO_LARGE:
                self.drop_old(p + at)
            at += parser.used
            self.swallow = parser.skip
        return at

    cdef int refuse(self, Parsed parsed) except -1:
        """Count and answer what the parser did not take."""
        cdef RequestParser parser = self.context.parser
        cdef Block counters = self.context.counters
        cdef bytes reply = parser.reply[:parser.reply_length]
        counters.slot[W_REQUESTS] += 1
        if parsed == P_FATAL:
            counters.slot[W_LINES_TOO_LONG] += 1
        if reply == b"ERROR\r\n":
            counters.slot[W_BAD_COMMANDS] += 1
        elif reply.startswith(b"SERVER_ERROR"):
            counters.slot[W_STORE_TOO_LARGE] += 1
            counters.slot[W_SERVER_ERRORS] += 1
        elif reply.startswith(b"CLIENT_ERROR"):
            counters.slot[W_CLIENT_ERRORS] += 1
            if reply == b"CLIENT_ERROR bad key\r\n":
                counters.slot[W_BAD_KEYS] += 1
        if parser.quiet:
            counters.slot[W_QUIET_REQUESTS] += 1
            return 0
        return self.answer(reply, len(reply))

    cdef int drop_old(self, const unsigned char *p) except -1:
        """A set that is refused for its size must not leave the old value behind, as in memcached."""
        cdef RequestParser parser = self.context.parser
        cdef bytes key = p[parser.keys[0].start:parser.keys[0].start + parser.keys[0].length]
        cdef bytes request
        cdef Pool pool
        cdef size_t skip = parser.skip
        cdef size_t used = parser.used
        if parser.verb == V_MS and parser.meta.binary:
            request = b"md " + key + b" b q\r\n"
        else:
            request = b"delete " + key + b"\r\n"
        parser.next(request, len(request), 0)
        parser.quiet = True
        pool = self.lead(NOT_TIMED, request) if self.routes.only is None else self.routes.only
        if pool is not None:
            self.add(Mutation.__new__(Mutation), NOT_TIMED)
            self.last.start(pool, parser, request)
        parser.skip = skip
        parser.used = used
        return 0

    cdef int dispatch(self, const unsigned char *p) except -1:
        """Start what the parser has found at p."""
        cdef Context context = self.context
        cdef RequestParser parser = context.parser
        cdef uint64_t *count = context.counters.slot
        cdef Verb verb = parser.verb
        cdef Pool pool = self.routes.only
        cdef Exchange exchange
        cdef VerbClass timed_as
        count[W_REQUESTS] += 1
        count[W_QUIET_REQUESTS] += parser.quiet
        if verb > V_FLUSH_ALL:
            return self.dispatch_local(p)
        if context.memory.used_bytes > context.memory.limit_bytes and self.must_yield():
            count[W_MEMORY_REFUSED] += 1
            count[W_SERVER_ERRORS] += 1
            return 0 if parser.quiet else self.answer(OUT_OF_MEMORY, len(OUT_OF_MEMORY))
        timed_as = CLASSES[<int> verb]
        if verb <= V_GATS:
            count[W_CMD_GET] += parser.n_keys
            if verb >= V_GAT:
                count[W_CMD_TOUCH] += parser.n_keys
            if parser.n_keys > 1:
                exchange = MultiGet.__new__(MultiGet)
                count[W_MULTIGETS] += 1
                timed_as = L_MULTIGET
            else:
                exchange = Retrieval.__new__(Retrieval)
        elif V_MG <= verb <= V_ME:
            self.count_meta(parser)
            if verb == V_MG or verb == V_ME:
                exchange = Retrieval.__new__(Retrieval)
            else:
                exchange = Mutation.__new__(Mutation)
        elif verb == V_FLUSH_ALL:
            exchange = Broadcast.__new__(Broadcast)
            count[W_CMD_FLUSH] += 1
        else:
            if verb <= V_CAS:
                count[W_CMD_SET] += 1
            elif verb == V_TOUCH:
                count[W_CMD_TOUCH] += 1
            exchange = Mutation.__new__(Mutation)
        if pool is None:
            pool = self.lead(timed_as, p)
            if pool is None:
                return 0
        self.add(exchange, timed_as)
        exchange.start(pool, parser, p)
        context.observer.ahead -= <int64_t> parser.n_keys
        if context.observer.ahead <= 0:
            context.observer.sample(exchange)
        return 0

    cdef Pool lead(self, VerbClass timed_as, const unsigned char *p):
        """The pool that the request goes to as it is. None: it is on its way, to several or without a prefix."""
        cdef RequestParser parser = self.context.parser
        cdef Gathering gathering
        cdef Route route = None
        if parser.verb != V_FLUSH_ALL:
            route = self.routes.common(parser, p)
        if route is not None and not route.strip:
            return route.pool
        gathering = Gathering.__new__(Gathering)
        gathering.routes = self.routes
        gathering.shares_timed_as = timed_as
        gathering.observer = self.context.observer
        gathering.connection = self.connection
        self.add(gathering, NOT_TIMED)
        gathering.start(None, parser, p)
        return None

    cdef int count_meta(self, RequestParser parser) except -1:
        """As the classic verb that does the same."""
        cdef uint64_t *count = self.context.counters.slot
        count[W_CMD_META] += 1
        count[W_QUIET_REQUESTS] += parser.meta.quiet
        if parser.verb == V_MG:
            count[W_CMD_GET] += 1
            count[W_CMD_TOUCH] += parser.twin == V_GAT
        elif parser.verb == V_MS:
            count[W_CMD_SET] += 1
        return 0

    cdef int dispatch_local(self, const unsigned char *p) except -1:
        """The requests that the proxy answers itself."""
        cdef RequestParser parser = self.context.parser
        cdef Verb verb = parser.verb
        cdef bytes reply
        if verb == V_QUIT:
            self.closing = True
            return self.mark()
        if verb == V_VERSION:
            reply = b"VERSION " + self.context.version + b"\r\n"
        elif verb == V_MN:
            reply = b"MN\r\n"
        elif verb == V_VERBOSITY:
            reply = b"OK\r\n"
        else:
            reply = self.context.answer_stats(p[parser.argument.start:parser.argument.start + parser.argument.length])
        return 0 if parser.quiet else self.answer(reply, len(reply))

    cdef int add(self, Exchange exchange, VerbClass timed_as) except -1:
        cdef Context context = self.context
        cdef RequestParser parser = context.parser
        exchange.begin(self, context.counters, context.memory, parser.verb, parser.quiet, context.turn.now_us)
        exchange.timed_as = timed_as
        if self.first is None:
            self.first = exchange
        else:
            self.last.behind = exchange
        self.last = exchange
        self.under_way += 1
        return 0

    cdef int answer(self, const unsigned char *p, size_t n) except -1:
        """The proxy's own reply, behind the replies to earlier requests."""
        cdef Exchange exchange
        if self.first is None:
            return self.write(p, n)
        exchange = Exchange.__new__(Exchange)
        self.context.parser.quiet = False
        self.add(exchange, NOT_TIMED)
        return exchange.settle(p, n)

    cdef int settled(self, Exchange exchange, const unsigned char *p, size_t n) except -1:
        cdef Exchange head = self.first
        cdef Memory memory = self.context.memory
        cdef Histograms latencies
        cdef int64_t took_us = self.context.turn.now_us - exchange.started_us
        if exchange.timed_as != NOT_TIMED:
            latencies = exchange.pool.latencies
            if latencies is not None:
                latencies.add(exchange.timed_as, took_us)
        if took_us >= self.context.observer.least_us:
            self.context.observer.saw(exchange, self.connection, p, n)
        if n > SMALL_BYTES and self.must_refuse(memory.used_bytes + n):
            self.context.counters.slot[W_MEMORY_REFUSED] += 1
            self.context.counters.slot[W_SERVER_ERRORS] += 1
            p = OUT_OF_MEMORY
            n = len(OUT_OF_MEMORY)
        if self.out.length() + self.kept_bytes > self.context.close_bytes:
            # there was too much already that it has not read; one reply alone may be of any size
            self.overflowed = True
        self.under_way -= 1
        self.batch_bytes += n
        self.reply_bytes += (<int64_t> n - self.reply_bytes) // 8
        if exchange is not head:
            if not exchange.quiet:
                exchange.keep(p, n)
                self.kept_bytes += n
        else:
            if not exchange.quiet:
                self.write(p, n)
            while True:
                self.first = head.behind
                head.behind = None
                head = self.first
                if head is None:
                    self.last = None
                    break
                if not head.done:
                    break
                if head.reply != NULL:
                    self.kept_bytes -= head.reply_length
                    self.write(head.reply, head.reply_length)
        if self.under_way == 0:
            if self.batch_bytes < WINDOW_SMALL_BYTES:
                if self.window < WINDOW_MAX:
                    self.window *= 2
            elif self.batch_bytes > WINDOW_LARGE_BYTES and self.window > 1:
                self.window //= 2
            self.batch_bytes = 0
            self.mark()
        return 0

    cdef int hold_back(self) except -1:
        self.window = 1
        return 0

    cdef int write(self, const unsigned char *p, size_t n) except -1:
        if self.out.length() == 0:
            self.ready_us = self.context.turn.now_us
        if self.out.length() <= self.context.pause_bytes < self.out.length() + n:
            self.context.counters.slot[W_CLIENT_PAUSED] += 1
        self.out.append(p, n)
        return self.mark()

    cdef int mark(self) except -1:
        if not self.dirty:
            self.dirty = True
            self.context.turn.sessions.append(self)
        return 0

    cdef bint should_flush(self) noexcept:
        """Is it time to write, or is the rest of the batch worth waiting for?"""
        return self.out.length() > 0 and (
            self.under_way == 0
            or self.out.length() >= FLUSH_BYTES
            or self.context.turn.now_us - self.ready_us >= BATCH_PATIENCE_US
        )

    cdef int abandon(self) except -1:
        """The client is gone. What is under way goes on without it."""
        cdef Exchange exchange = self.first
        cdef Exchange behind
        self.closing = True
        while exchange is not None:
            if not exchange.done and self.context.turn.now_us - exchange.started_us >= self.context.observer.least_us:
                self.context.observer.saw(exchange, self.connection, NULL, 0)
            behind = exchange.behind
            exchange.waiting = None
            exchange.behind = None
            exchange.let_go()
            exchange = behind
        self.first = self.last = None
        self.under_way = 0
        self.out.clear()
        self.left.clear()
        return 0

    # The Python face, for tests: a conversation without a socket.

    def feed(self, bytes data not None):
        """Bytes from the client."""
        self.received(data, len(data))
        self.settle_down()

    def settle_down(self):
        """Go on with what the window or unread replies held back."""
        while self.wants_more() and self.left.length():
            before = self.left.length()
            self.resume()
            if self.left.length() == before:
                break

    def output(self):
        """What would be sent to the client."""
        content = bytes(self.out)
        if content:
            self.out.consume(len(content))
        return content

    def hang_up(self):
        self.abandon()

    @property
    def waiting_for(self):
        """How many exchanges are under way."""
        return self.under_way

    @property
    def wants_input(self):
        """May more be read from the client now?"""
        return bool(self.wants_more())

    @property
    def is_ready(self):
        """Is it time to write?"""
        return bool(self.should_flush())

    @property
    def is_closing(self):
        return bool(self.closing)

    @property
    def has_overflowed(self):
        return bool(self.overflowed)
