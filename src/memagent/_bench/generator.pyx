# cython: cdivision=True
"""The load: clients on one epoll loop, one thread, nothing of Python while a measurement runs.

    IDLE ─▶ CONNECTING ─▶ IDLE ─▶ PRELOAD ─▶ IDLE ─▶ WARMING ─▶ MEASURING ─▶ DRAINING ─▶ DONE

    closed loop   a client's replies come ─▶ it sends as many requests as were answered, at once
    open loop     request n is due at start + n x interval ─▶ any client with room sends it; while none has,
                  it waits, and its latency runs from the moment it was due: a stalled server cannot slow
                  the load down and so look better than it is

Invariants: `in_flight` is the sum of all clients' `count`; a client with bytes pending issues nothing;
`scheduled` never decreases. A client that waits longer than the timeout counts its requests as lost, with
their age as latency, and connects again.
"""

cimport cython
from libc.errno cimport ETIMEDOUT
from libc.stdlib cimport calloc, free
from libc.string cimport strerror

from memagent._bench.connections cimport BATCH_BYTES, RETRY_NS, Connections
from memagent._bench.posix cimport EPOLLOUT, clock_ns, precise_timers
from memagent._bench.replies cimport COUNTED, PRELOADING, UNCOUNTED, Client, Flight
from memagent._bench.workload cimport GETS, SET

cdef enum:
    PRELOAD_DEPTH = 32
    PRELOAD_CLIENTS = 16
    PRELOAD_LOSSES_MAX = 3
    SCAN_NS = 50000000
    CONNECT_RETRY_NS = 1000000

PHASES = ("idle", "connecting", "preload", "warming", "measuring", "draining", "done")


@cython.final
cdef class Generator:
    def __cinit__(self, Workload workload, *, family, host, port, clients, depth, timeout_s):
        """`host` is a numeric address, or the path of a Unix socket."""
        self.workload = workload
        self.checker = Checker(workload, max(depth, PRELOAD_DEPTH))
        self.clients = clients
        self.depth = depth
        self.idle = <uint32_t *>calloc(clients, sizeof(uint32_t))
        if self.idle == NULL:
            raise MemoryError
        self.links = Connections(
            self.checker, family=family, host=host, port=port, clients=clients, timeout_s=timeout_s
        )

    def __dealloc__(self):
        free(self.idle)

    # From Python: each call runs the loop for a bounded time, so that signals and progress get their turn.

    def connect(self):
        """Connects every client, a few at a time; raises OSError with the first failure."""
        cdef int64_t give_up_ns = clock_ns() + self.links.timeout_ns
        cdef uint32_t before = 0
        self.links.retry_ns = CONNECT_RETRY_NS
        self.links.first_errno = 0
        self.phase = CONNECTING
        while self.links.connected < self.clients:
            before = self.links.connected
            with nogil:
                self.turn(clock_ns() + 10000000)
            if self.links.first_errno:
                raise OSError(self.links.first_errno, strerror(self.links.first_errno).decode())
            if self.links.connected > before:
                give_up_ns = clock_ns() + self.links.timeout_ns
            elif clock_ns() > give_up_ns:
                raise OSError(ETIMEDOUT, strerror(ETIMEDOUT).decode())
        self.links.retry_ns = RETRY_NS
        self.phase = IDLE

    def preload(self):
        """Starts setting every key once; `step` until "idle". Losing several connections ends it early."""
        assert self.phase == IDLE
        self.checker.preload_stored = 0
        self.preload_next = 0
        self.links.losses = 0
        self.preload_total = self.workload.keys * (2 if self.workload.uses_counters else 1)
        self.phase = PRELOAD
        with nogil:
            self.kick(clock_ns())

    def start(self, *, double warmup_s, double duration_s, requests=0, double rate=0.0):
        """Starts the load; `step` until "done". `rate` 0: closed loop; `requests` 0: by time alone."""
        cdef int64_t now_ns
        assert self.phase in (IDLE, DONE) and duration_s > 0
        self.checker.clear()
        self.interval_ns = 1e9 / rate if rate > 0 else 0.0
        if self.interval_ns:
            precise_timers()
        self.requests_left = requests or <uint64_t>0x7FFFFFFFFFFFFFFF
        self.issued = self.scheduled = 0
        self.idle_head = self.idle_count = 0
        self.ended_ns = 0
        self.phase = WARMING
        with nogil:
            now_ns = clock_ns()
            self.schedule_ns = now_ns
            self.measure_from_ns = now_ns + <int64_t>(warmup_s * 1e9)
            self.measure_until_ns = self.measure_from_ns + <int64_t>(duration_s * 1e9)
            self.advance(now_ns)
            self.kick(now_ns)

    def step(self, double seconds):
        """Runs for this long, or until the phase needs a decision, or a signal came; returns the phase."""
        cdef int64_t until_ns = clock_ns() + <int64_t>(seconds * 1e9)
        self.interrupted = False
        with nogil:
            while self.phase not in (IDLE, DONE) and not self.interrupted and clock_ns() < until_ns:
                self.turn(until_ns)
        return PHASES[self.phase]

    def stop(self):
        """Ends the measurement here; what is in flight is not counted."""
        if self.phase in (WARMING, MEASURING, DRAINING):
            self.ended_ns = clock_ns()
        self.phase = DONE

    def close(self):
        """Closes every connection: a server sees them end. The generator is of no more use."""
        self.phase = DONE
        self.links.close()

    @property
    def phase_name(self):
        return PHASES[self.phase]

    @property
    def answered(self):
        """Requests answered since the beginning, counted or not: to measure between two moments."""
        return self.checker.answered

    def preload_state(self):
        return {"keys": self.preload_total, "sent": self.preload_next, "stored": self.checker.preload_stored}

    def elapsed_s(self):
        cdef int64_t end_ns = clock_ns()
        if self.phase == DONE:
            end_ns = self.ended_ns
        return max(end_ns - self.measure_from_ns, 0) / 1e9

    def counts(self):
        return self.checker.counts()

    # The loop.

    cdef void turn(self, int64_t until_ns) noexcept nogil:
        cdef int64_t now_ns = clock_ns()
        cdef int i, n
        cdef uint32_t index
        cdef bint room
        if now_ns >= self.next_scan_ns or self.phase == CONNECTING:
            self.next_scan_ns = now_ns + SCAN_NS
            self.links.scan(now_ns)
        self.advance(now_ns)
        if self.phase == IDLE or self.phase == DONE:
            return
        if self.interval_ns > 0.0:
            self.issue_due(now_ns)
        n = self.wait(now_ns, until_ns)
        if n < 0:
            self.interrupted = True
            return
        for i in range(n):
            index = self.links.events[i].data.u32
            room = False
            if self.links.client[index].connecting:
                room = self.links.finish_connect(index, clock_ns())
            else:
                if self.links.events[i].events & EPOLLOUT and self.links.client[index].fd >= 0:
                    room = self.links.flush(index, clock_ns())
                if self.links.events[i].events & ~<uint32_t>EPOLLOUT and self.links.client[index].fd >= 0:
                    room = self.links.receive(index)
            if room:
                self.refill(index, clock_ns())

    cdef int wait(self, int64_t now_ns, int64_t until_ns) noexcept nogil:
        cdef int64_t wait_ns = min(until_ns, self.next_scan_ns) - now_ns
        cdef int64_t due_ns
        if self.phase == WARMING:
            wait_ns = min(wait_ns, self.measure_from_ns - now_ns)
        elif self.phase == MEASURING:
            wait_ns = min(wait_ns, self.measure_until_ns - now_ns)
        if self.interval_ns > 0.0 and self.idle_count and (self.phase == WARMING or self.phase == MEASURING):
            due_ns = self.schedule_ns + <int64_t>(self.scheduled * self.interval_ns) - now_ns
            if due_ns < wait_ns:
                return self.links.wait(due_ns, True)
        return self.links.wait(wait_ns, False)

    cdef void advance(self, int64_t now_ns) noexcept nogil:
        cdef bint schedule_over
        if self.phase == PRELOAD:
            if self.links.losses >= PRELOAD_LOSSES_MAX:
                self.preload_next = self.preload_total
            if self.preload_next >= self.preload_total and self.checker.in_flight == 0:
                self.phase = IDLE
            return
        if self.phase == WARMING and now_ns >= self.measure_from_ns:
            self.phase = MEASURING
            self.checker.tally.bytes_in = self.checker.tally.bytes_out = 0
        if self.phase == MEASURING and (now_ns >= self.measure_until_ns or self.requests_left == 0):
            self.phase = DRAINING
            self.drain_until_ns = now_ns + self.links.timeout_ns
            self.ended_ns = now_ns if self.requests_left == 0 else self.measure_until_ns
        if self.phase == DRAINING:
            schedule_over = (
                self.interval_ns == 0.0 or self.requests_left == 0
                or self.schedule_ns + <int64_t>(self.scheduled * self.interval_ns) >= self.measure_until_ns
            )
            if self.checker.in_flight == 0 and schedule_over:
                self.phase = DONE
            elif now_ns >= self.drain_until_ns:
                self.abandon(now_ns)
                self.phase = DONE
            if self.phase == DONE:
                self.ended_ns = max(self.ended_ns, self.checker.last_counted_ns)

    cdef void abandon(self, int64_t now_ns) noexcept nogil:
        """The end has come with requests unanswered or never sent: their age is the least that they took."""
        cdef uint32_t i
        cdef int64_t due_ns
        for i in range(self.clients):
            if self.links.client[i].fd >= 0 and self.links.client[i].count:
                self.links.lose(i, now_ns, True)
        while self.interval_ns > 0.0 and self.requests_left:
            due_ns = self.schedule_ns + <int64_t>(self.scheduled * self.interval_ns)
            if due_ns >= self.measure_until_ns:
                break
            self.scheduled += 1
            self.requests_left -= 1
            if due_ns >= self.measure_from_ns:
                self.checker.tally.lost_requests += 1
                self.checker.latency.add(now_ns - due_ns)

    cdef void refill(self, uint32_t index, int64_t now_ns) noexcept nogil:
        cdef Client *client = &self.links.client[index]
        if not self.links.has_room(index):
            return
        if self.interval_ns > 0.0 and self.phase != PRELOAD:
            if not client.queued and client.count < self.depth:
                client.queued = True
                self.idle[(self.idle_head + self.idle_count) % self.clients] = index
                self.idle_count += 1
        else:
            self.fill(index, now_ns)

    cdef void fill(self, uint32_t index, int64_t now_ns) noexcept nogil:
        """Closed loop and preload: as many requests as there is room for, in one send."""
        cdef Client *client = &self.links.client[index]
        cdef uint8_t *at
        cdef uint32_t depth = self.depth
        if self.phase == PRELOAD:
            depth = PRELOAD_DEPTH if index < PRELOAD_CLIENTS else 0
        elif self.phase != WARMING and self.phase != MEASURING:
            return
        while True:
            at = self.links.outbound
            while client.count < depth and at < self.links.outbound + BATCH_BYTES:
                if self.phase == PRELOAD and self.preload_next >= self.preload_total:
                    break
                if self.phase != PRELOAD and self.requests_left == 0:
                    break
                at = self.put(client, at, now_ns, now_ns)
            if at == self.links.outbound:
                return
            if not self.links.deliver(index, at - self.links.outbound, now_ns):
                return

    cdef void issue_due(self, int64_t now_ns) noexcept nogil:
        """Open loop: every request that is due goes to the client that has had room for longest."""
        cdef int64_t due_ns
        cdef uint32_t index
        cdef Client *client
        cdef uint8_t *at
        if self.phase < WARMING or self.phase > DRAINING:
            return
        while self.idle_count and self.requests_left:
            due_ns = self.schedule_ns + <int64_t>(self.scheduled * self.interval_ns)
            if due_ns > now_ns or due_ns >= self.measure_until_ns:
                return
            index = self.idle[self.idle_head]
            client = &self.links.client[index]
            self.idle_head = (self.idle_head + 1) % self.clients
            self.idle_count -= 1
            client.queued = False
            if client.count >= self.depth or not self.links.has_room(index):
                continue
            at = self.put(client, self.links.outbound, due_ns, now_ns)
            self.scheduled += 1
            if self.links.deliver(index, at - self.links.outbound, now_ns):
                self.refill(index, now_ns)

    cdef uint8_t *put(self, Client *client, uint8_t *at, int64_t intended_ns, int64_t now_ns) noexcept nogil:
        cdef uint32_t place = (client.head + client.count) % self.checker.ring
        cdef uint32_t width = self.workload.width, i
        cdef uint32_t *asked = client.asked + place * width
        cdef Flight *flight = &client.flights[place]
        if self.phase == PRELOAD:
            flight.verb = SET
            flight.purpose = PRELOADING
            asked[0] = <uint32_t>self.preload_next
            self.preload_next += 1
        else:
            flight.verb = <uint8_t>self.workload.draw_verb()
            flight.purpose = COUNTED if intended_ns >= self.measure_from_ns else UNCOUNTED
            if flight.verb <= GETS:
                for i in range(width):
                    asked[i] = self.workload.draw_key()
            else:
                asked[0] = self.workload.draw_key()
            if flight.purpose == COUNTED:
                self.requests_left -= 1
        flight.intended_ns = intended_ns
        flight.sent_ns = now_ns
        flight.found = flight.near = 0
        client.count += 1
        self.checker.in_flight += 1
        self.issued += 1
        return self.workload.put_request(at, flight.verb, asked, self.phase == PRELOAD)

    cdef void kick(self, int64_t now_ns) noexcept nogil:
        """A phase begins: every client that has room gets its first requests."""
        cdef uint32_t i
        for i in range(self.clients):
            self.links.client[i].queued = False
            self.refill(i, now_ns)
