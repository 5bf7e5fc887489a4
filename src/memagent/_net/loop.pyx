"""The event loop of a worker: epoll, one thread, no asyncio.

    ┌─▶ wait ─▶ now ─▶ every event: read and decide ─▶ flush: one write per server, one per client ─┐
    └───────────────────────────────────────────────────────────────────────────────────────────────┘

Invariants:
- Nothing here blocks but epoll_wait.
- What is not a request's work (timeouts, probes, gauges) happens in `tick`, every TICK_NS while anything could need it;
  an idle worker sleeps, or looks up ten times a second where another worker may take a server down for it.
- The GIL is held throughout: the process has this one thread.
"""

cimport cython
from libc.stdint cimport int64_t, uint64_t

from memagent._core.channel cimport Channel
from memagent._core.metrics cimport W_BUFFERED_BYTES, Block
from memagent._core.server cimport Server
from memagent._core.session cimport Context, Session
from memagent._core.turn cimport Turn
from memagent._net.client cimport AT_ONCE, NOT_AGAIN, Again, ClientConnection
from memagent._net.listener cimport Listener
from memagent._net.poller cimport Poller
from memagent._net.posix cimport (
    CLOCK_MONOTONIC,
    TFD_CLOEXEC,
    TFD_NONBLOCK,
    close,
    errno,
    itimerspec,
    read,
    timerfd_create,
    timerfd_settime,
    usleep,
)
from memagent._net.server cimport BUSY, IDLE, SLOW, Endpoint, Link, Pace

cdef enum:
    TICK_NS = 10_000_000
    SLOW_TICK_NS = 100_000_000
    MISSED_TICKS = 10
    GATHER_ROUNDS = 3
    CROWD = 16           # requests at servers
    MIN_NAP_US = 60      # a shorter one costs more than it saves
    MAX_NAP_US = 500
    NAP_SHARE = 4        # of what requests take
    PATIENCE_MS = 1      # replies that wait for the rest of their batch


@cython.final
cdef class Loop:
    """`endpoints` and `listeners` may be filled before `run`, and while it runs."""

    def __cinit__(self, Context context not None, Block counters not None):
        self.context = context
        self.counters = counters
        self.poller = Poller(context, counters)
        self.endpoints = []
        self.listeners = []
        self.accepting = True
        self.drain_ms = -1
        self.timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC)
        if self.timer_fd < 0:
            raise OSError(errno, "timerfd_create")

    def __dealloc__(self):
        if self.timer_fd >= 0:
            close(self.timer_fd)

    def run(self):
        """Serve until `stop`, or until all clients are gone after `drain`."""
        # For as long as it runs only: the collector cannot see that the poller keeps what it watches.
        timer = self.poller.watch_readable(self.timer_fd, self._timer_fired, True)
        try:
            self.serve()
        finally:
            self.poller.unwatch(timer)

    cdef int serve(self) except -1:
        cdef Endpoint endpoint
        cdef Listener listener
        cdef int timeout_ms = -1
        cdef int n = 0
        cdef int rounds
        self.running = True
        for endpoint in self.endpoints:
            endpoint.connect()
        if self.accepting:
            for listener in self.listeners:
                listener.start()
        self.start_ticking()
        while self.running:
            n = self.wait(timeout_ms)
            if self.poller.unread:
                self.read_on()
            rounds = 0
            while n > 1 and rounds < GATHER_ROUNDS and self.context.turn.channels:
                # what has arrived meanwhile goes to the servers in the same writes
                n = self.poller.wait(0)
                rounds += 1
            if self.drain_ms >= 0 and not self.draining:
                self.begin_to_drain()
            timeout_ms = self.flush()
            if self.poller.unread:
                timeout_ms = 0
            self.counters.slot[W_BUFFERED_BYTES] = self.context.memory.used_bytes
            if self.poller.work_ahead and not self.ticking:
                self.start_ticking()
            if self.draining and (not self.poller.clients or self.context.turn.now_us >= self.drain_until_us):
                self.running = False

    cdef int wait(self, int timeout_ms) except -1:
        """Events, after a nap if there is a reason for one.

        When servers take long over a crowd of requests, their replies come one by one, and to wake up for each costs more
        than what it brings: take a nap that is short beside what requests take anyway, and then all that has come (as
        network cards moderate their interrupts).
        """
        if self.nap_us and timeout_ms and self.context.turn.in_flight >= CROWD:
            usleep(self.nap_us)
            return self.poller.wait(0)
        return self.poller.wait(timeout_ms)

    def stop(self):
        self.running = False

    def listen(self, Listener listener not None):
        """Accept from this one too, if we accept at all."""
        if self.draining or self.accepts_no_more:
            listener.leave()
            return
        self.listeners.append(listener)
        if self.running and self.accepting:
            listener.start()

    def listen_no_more(self, Listener listener not None):
        """Who is here may stay."""
        if listener in self.listeners:
            self.listeners.remove(listener)
        if self.accepting:
            listener.close()
        else:
            listener.leave()

    def accept(self):
        """From now on, where `accepting` was made False before `run`."""
        cdef Listener listener
        if not self.accepting:
            self.accepting = True
            for listener in self.listeners:
                listener.start()

    def accept_no_more(self):
        """Who is here may stay, and so may who has woken us already: he wakes none of the other processes that have
        these listening sockets. Whoever comes next is for them."""
        cdef Listener listener
        for listener in self.listeners:
            if self.accepting:
                listener.close()
            else:
                listener.leave()
        self.accepting = False
        self.accepts_no_more = True
        self.listeners.clear()

    cdef int read_on(self) except -1:
        """Servers that had more to say than one turn takes in."""
        cdef list unread = self.poller.unread
        cdef Link link
        self.poller.unread = []
        for link in unread:
            link.unread = False
            if link.fd >= 0:
                link.read()
        return 0

    def drain(self, int drain_ms):
        """Accept no more clients, answer what has arrived, close; `drain_ms` at most (behaviour section 7).

        Begins at the end of this turn: whoever calls it may stand in the middle of a request.
        """
        self.drain_ms = drain_ms

    cdef int begin_to_drain(self) except -1:
        cdef Listener listener
        cdef ClientConnection client
        self.draining = True
        self.drain_until_us = self.context.turn.now_us + <int64_t> self.drain_ms * 1000
        if not self.accepting:
            self.accept_no_more()
        for listener in self.listeners:
            listener.close()
        for client in list(self.poller.clients):
            client.drain()
        self.poller.work_ahead = True
        return 0

    cdef int flush(self) except? -2:
        """Write to everybody who has bytes to get. Returns how long the next turn may wait for events, in ms."""
        cdef Turn turn = self.context.turn
        cdef list channels = turn.channels
        cdef list sessions = turn.sessions
        cdef list waiting = None
        cdef Channel channel
        cdef Session session
        cdef ClientConnection client
        cdef Again again
        cdef int timeout_ms = -1
        cdef list servers = turn.servers
        cdef Server server
        while channels or sessions or servers:
            for server in servers:
                (<Endpoint> server.connection).tear_down()
            servers.clear()
            # what comes back to these lists while they are walked is walked too
            for channel in channels:
                channel.dirty = False
                (<Link> channel.connection).flush()
            channels.clear()
            for session in sessions:
                session.dirty = False
                if session.connection is None:
                    continue
                client = <ClientConnection> session.connection
                again = client.turn_end()
                if again != NOT_AGAIN and not session.dirty:
                    if waiting is None:
                        waiting = []
                    session.dirty = True
                    waiting.append(session)
                    if again == AT_ONCE:
                        timeout_ms = 0
                    elif timeout_ms < 0:
                        timeout_ms = PATIENCE_MS
            sessions.clear()
        if waiting is not None:
            sessions.extend(waiting)
        return timeout_ms

    cdef int plan_naps(self) except -1:
        """No nap where any server answers quickly: its clients would notice."""
        cdef Endpoint endpoint
        cdef Channel channel
        cdef int64_t quickest_us = MAX_NAP_US * NAP_SHARE
        for endpoint in self.endpoints:
            if endpoint.server.up:
                for channel in endpoint.server.channels:
                    quickest_us = min(quickest_us, channel.latency_us)
        self.nap_us = quickest_us // NAP_SHARE if quickest_us >= MIN_NAP_US * NAP_SHARE else 0
        return 0

    cdef int set_timer(self, long interval_ns) except -1:
        cdef itimerspec spec
        spec.it_interval.tv_sec = spec.it_value.tv_sec = 0
        spec.it_interval.tv_nsec = spec.it_value.tv_nsec = interval_ns
        if timerfd_settime(self.timer_fd, 0, &spec, NULL) < 0:
            raise OSError(errno, "timerfd_settime")
        return 0

    cdef int start_ticking(self) except -1:
        self.ticking = True
        return self.set_timer(TICK_NS)

    def _timer_fired(self):
        cdef uint64_t times
        cdef Endpoint endpoint
        cdef Listener listener
        cdef ClientConnection client
        cdef list gone = []
        cdef Pace pace = BUSY if self.draining or self.context.waits() else IDLE
        read(self.timer_fd, &times, sizeof(times))
        if times > MISSED_TICKS and not self.tick_was_skipped:
            # We have not run for a while, and that must not be held against anybody: first hear what has come.
            # Once in a row: where every turn is long, waits must end all the same.
            self.tick_was_skipped = True
            return
        self.tick_was_skipped = False
        self.context.expire()
        for endpoint in self.endpoints:
            endpoint.tick()
            pace = max(pace, endpoint.pace())
            if endpoint.has_left():
                gone.append(endpoint)
        for endpoint in gone:
            self.endpoints.remove(endpoint)
            self.on_gone(endpoint.server.index)
        for listener in self.listeners:
            if listener.resting:
                listener.start()
        self.plan_naps()
        for client in list(self.poller.lingering):
            if client.linger_over():
                self.poller.lingering.remove(client)
            else:
                pace = BUSY
        self.poller.work_ahead = False
        if pace != BUSY:
            self.ticking = False
            self.set_timer(SLOW_TICK_NS if pace == SLOW else 0)
