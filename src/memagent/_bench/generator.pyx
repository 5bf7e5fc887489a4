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
from libc.errno cimport EAGAIN, ECONNRESET, EINPROGRESS, EINTR, ETIMEDOUT, errno
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcpy, memset, strerror

from memagent._bench.replies cimport COUNTED, PRELOADING, STASH_BYTES, UNCOUNTED, Flight
from memagent._bench.workload cimport GETS, SET

import socket

cdef extern from "<sys/epoll.h>" nogil:
    union epoll_data_t:
        uint32_t u32
    struct epoll_event:
        uint32_t events
        epoll_data_t data
    enum:
        EPOLLIN, EPOLLOUT, EPOLL_CTL_ADD, EPOLL_CTL_MOD, EPOLL_CLOEXEC
    int epoll_create1(int flags)
    int epoll_ctl(int epfd, int op, int fd, epoll_event *event)
    int epoll_wait(int epfd, epoll_event *events, int most, int timeout)

cdef extern from "<poll.h>" nogil:
    struct pollfd:
        int fd
        short events
    enum:
        POLLIN

cdef extern from "<time.h>" nogil:
    struct timespec:
        long tv_sec
        long tv_nsec
    enum:
        CLOCK_MONOTONIC
    int clock_gettime(int clock, timespec *now)

cdef extern from *:
    """
    #include <poll.h>
    #include <signal.h>
    #include <sys/prctl.h>
    #define memagent_wait_for(fds, timeout) ppoll((fds), 1, (timeout), NULL)
    #define memagent_precise_timers() prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL)
    """
    int wait_for "memagent_wait_for" (pollfd *fds, timespec *timeout) noexcept nogil
    int precise_timers "memagent_precise_timers" () noexcept nogil

cdef extern from "<sys/socket.h>" nogil:
    struct sockaddr:
        pass
    enum:
        AF_UNIX, SOCK_STREAM, SOCK_NONBLOCK, SOCK_CLOEXEC, SOL_SOCKET, SO_ERROR, MSG_NOSIGNAL, MSG_DONTWAIT
    int c_socket "socket" (int family, int kind, int protocol)
    int c_connect "connect" (int fd, const sockaddr *address, unsigned int length)
    int setsockopt(int fd, int level, int name, const void *value, unsigned int length)
    int getsockopt(int fd, int level, int name, void *value, unsigned int *length)
    ssize_t c_send "send" (int fd, const void *data, size_t length, int flags)
    ssize_t c_recv "recv" (int fd, void *data, size_t length, int flags)

cdef extern from "<netinet/in.h>" nogil:
    struct in_addr:
        pass
    struct in6_addr:
        pass
    struct sockaddr_in:
        unsigned short sin_family, sin_port
        in_addr sin_addr
    struct sockaddr_in6:
        unsigned short sin6_family, sin6_port
        in6_addr sin6_addr
        uint32_t sin6_scope_id
    enum:
        IPPROTO_TCP
    unsigned short htons(unsigned short port)

cdef extern from "<netinet/tcp.h>" nogil:
    enum:
        TCP_NODELAY

cdef extern from "<sys/un.h>" nogil:
    struct sockaddr_un:
        unsigned short sun_family
        char sun_path[108]

cdef extern from "<unistd.h>" nogil:
    int c_close "close" (int fd)

cdef enum:
    EVENTS_MAX = 256
    INBOUND_BYTES = 256 * 1024
    BATCH_BYTES = 256 * 1024            # one send at most: deep pipelines of large values would pile up
    OPENING_MAX = 64
    PRELOAD_DEPTH = 32
    PRELOAD_CLIENTS = 16
    PRELOAD_LOSSES_MAX = 3
    SCAN_NS = 50000000
    RETRY_NS = 20000000

PHASES = ("idle", "connecting", "preload", "warming", "measuring", "draining", "done")


cdef inline int64_t clock_ns() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <int64_t>now.tv_sec * 1000000000 + now.tv_nsec


@cython.final
cdef class Generator:
    def __cinit__(self, Workload workload, *, family, host, port, clients, depth, timeout_s):
        """`host` is a numeric address, or the path of a Unix socket."""
        cdef uint32_t i, ring = max(<uint32_t>depth, <uint32_t>PRELOAD_DEPTH)
        self.poll_fd = -1
        self.workload = workload
        self.checker = Checker(workload, ring)
        self.depth = depth
        self.timeout_ns = <int64_t>(timeout_s * 1e9)
        self._set_address(family, host, port)
        self.outbound_room = BATCH_BYTES
        self.outbound_room += max(workload.request_bytes_max(SET), workload.request_bytes_max(GETS))
        self.inbound = <uint8_t *>malloc(INBOUND_BYTES + STASH_BYTES)
        self.outbound = <uint8_t *>malloc(self.outbound_room)
        self.idle = <uint32_t *>calloc(clients, sizeof(uint32_t))
        self.events = calloc(EVENTS_MAX, sizeof(epoll_event))
        self.client = <Client *>calloc(clients, sizeof(Client))
        if self.inbound == NULL or self.outbound == NULL or self.idle == NULL or self.events == NULL:
            raise MemoryError
        if self.client == NULL:
            raise MemoryError
        self.clients = clients
        for i in range(self.clients):
            self.client[i].fd = -1
        for i in range(self.clients):
            self.client[i].flights = <Flight *>calloc(ring, sizeof(Flight))
            self.client[i].asked = <uint32_t *>calloc(<size_t>ring * workload.width, sizeof(uint32_t))
            if self.client[i].flights == NULL or self.client[i].asked == NULL:
                raise MemoryError
        self.poll_fd = epoll_create1(EPOLL_CLOEXEC)
        if self.poll_fd < 0:
            raise OSError(errno, strerror(errno).decode())

    def __dealloc__(self):
        cdef uint32_t i
        for i in range(self.clients):
            if self.client[i].fd >= 0:
                c_close(self.client[i].fd)
            free(self.client[i].flights)
            free(self.client[i].asked)
            free(self.client[i].pending)
        if self.poll_fd >= 0:
            c_close(self.poll_fd)
        free(self.client)
        free(self.events)
        free(self.idle)
        free(self.inbound)
        free(self.outbound)

    def _set_address(self, family, host, port):
        cdef sockaddr_in *v4 = <sockaddr_in *>&self.address
        cdef sockaddr_in6 *v6 = <sockaddr_in6 *>&self.address
        cdef sockaddr_un *local = <sockaddr_un *>&self.address
        self.address.ss_family = family
        if family == socket.AF_UNIX:
            path = host.encode()
            if len(path) >= <Py_ssize_t>sizeof(local.sun_path):
                raise ValueError(f"the path of a Unix socket has at most {sizeof(local.sun_path) - 1} bytes")
            memcpy(local.sun_path, <const char *>path, len(path))
            self.address_bytes = sizeof(sockaddr_un)
        elif family == socket.AF_INET:
            packed = socket.inet_pton(family, host)
            memcpy(&v4.sin_addr, <const char *>packed, 4)
            v4.sin_port = htons(port)
            self.address_bytes = sizeof(sockaddr_in)
        else:
            bare, _, scope = host.partition("%")
            packed = socket.inet_pton(family, bare)
            memcpy(&v6.sin6_addr, <const char *>packed, 16)
            v6.sin6_port = htons(port)
            v6.sin6_scope_id = socket.if_nametoindex(scope) if scope else 0
            self.address_bytes = sizeof(sockaddr_in6)

    # From Python: each call runs the loop for a bounded time, so that signals and progress get their turn.

    def connect(self):
        """Connects every client, a few at a time; raises OSError with the first failure."""
        cdef int64_t give_up_ns = clock_ns() + self.timeout_ns
        cdef uint32_t before = 0
        self.phase = CONNECTING
        while self.connected < self.clients:
            before = self.connected
            with nogil:
                self.turn(clock_ns() + 10000000)
            if self.connect_errno:
                raise OSError(self.connect_errno, strerror(self.connect_errno).decode())
            if self.connected > before:
                give_up_ns = clock_ns() + self.timeout_ns
            elif clock_ns() > give_up_ns:
                raise OSError(ETIMEDOUT, strerror(ETIMEDOUT).decode())
        self.phase = IDLE

    def preload(self):
        """Starts setting every key once; `step` until "idle". Losing several connections ends it early."""
        assert self.phase == IDLE
        self.checker.preload_stored = 0
        self.preload_next = 0
        self.preload_losses = 0
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
        cdef uint32_t i
        self.phase = DONE
        for i in range(self.clients):
            if self.client[i].fd >= 0:
                c_close(self.client[i].fd)
                self.client[i].fd = -1

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
        cdef epoll_event *events = <epoll_event *>self.events
        cdef int i, n
        cdef uint32_t index
        if now_ns >= self.next_scan_ns or self.phase == CONNECTING:
            self.scan(now_ns)
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
            index = events[i].data.u32
            if self.client[index].connecting:
                self.finish_connect(index, clock_ns())
                continue
            if events[i].events & EPOLLOUT and self.client[index].fd >= 0:
                self.flush(index, clock_ns())
            if events[i].events & ~<uint32_t>EPOLLOUT and self.client[index].fd >= 0:
                self.receive(index)

    cdef int wait(self, int64_t now_ns, int64_t until_ns) noexcept nogil:
        cdef int64_t wait_ns = min(until_ns, self.next_scan_ns) - now_ns
        cdef int64_t due_ns
        cdef timespec pause
        cdef pollfd watched
        cdef int n
        if self.phase == WARMING:
            wait_ns = min(wait_ns, self.measure_from_ns - now_ns)
        elif self.phase == MEASURING:
            wait_ns = min(wait_ns, self.measure_until_ns - now_ns)
        if self.interval_ns > 0.0 and self.idle_count and (self.phase == WARMING or self.phase == MEASURING):
            # epoll_wait counts in milliseconds, too coarse for a schedule.
            due_ns = self.schedule_ns + <int64_t>(self.scheduled * self.interval_ns) - now_ns
            if due_ns < wait_ns:
                if due_ns > 0:
                    pause.tv_sec = due_ns // 1000000000
                    pause.tv_nsec = due_ns % 1000000000
                    watched.fd = self.poll_fd
                    watched.events = POLLIN
                    n = wait_for(&watched, &pause)
                    if n <= 0:
                        return n
                wait_ns = 0
        n = <int>((max(wait_ns, <int64_t>0) + 999999) // 1000000)
        return epoll_wait(self.poll_fd, <epoll_event *>self.events, EVENTS_MAX, n)

    cdef void advance(self, int64_t now_ns) noexcept nogil:
        cdef bint schedule_over
        if self.phase == PRELOAD:
            if self.preload_next >= self.preload_total and self.checker.in_flight == 0:
                self.phase = IDLE
            return
        if self.phase == WARMING and now_ns >= self.measure_from_ns:
            self.phase = MEASURING
            self.checker.tally.bytes_in = self.checker.tally.bytes_out = 0
        if self.phase == MEASURING and (now_ns >= self.measure_until_ns or self.requests_left == 0):
            self.phase = DRAINING
            self.drain_until_ns = now_ns + self.timeout_ns
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
            if self.client[i].fd >= 0 and self.client[i].count:
                self.lose(i, now_ns, True)
        while self.interval_ns > 0.0 and self.requests_left:
            due_ns = self.schedule_ns + <int64_t>(self.scheduled * self.interval_ns)
            if due_ns >= self.measure_until_ns:
                break
            self.scheduled += 1
            self.requests_left -= 1
            if due_ns >= self.measure_from_ns:
                self.checker.tally.lost_requests += 1
                self.checker.latency.add(now_ns - due_ns)

    cdef void receive(self, uint32_t index) noexcept nogil:
        cdef Client *client = &self.client[index]
        cdef uint32_t kept = client.stash_bytes
        cdef ssize_t n
        cdef int64_t now_ns, used
        # What was kept lies directly before the new bytes, so that a line is always in one piece.
        cdef uint8_t *start = self.inbound + STASH_BYTES - kept
        n = c_recv(client.fd, self.inbound + STASH_BYTES, INBOUND_BYTES, MSG_DONTWAIT)
        if n < 0 and (errno == EAGAIN or errno == EINTR):
            return
        now_ns = clock_ns()
        if n <= 0:
            self.lose(index, now_ns, False)
            return
        self.checker.tally.bytes_in += n
        if kept:
            memcpy(start, client.stash, kept)
            client.stash_bytes = 0
        used = self.checker.consume(client, start, kept + n, now_ns)
        if used < 0:
            self.lose(index, now_ns, False)
            return
        if used < kept + n:
            client.stash_bytes = <uint32_t>(kept + n - used)
            memcpy(client.stash, start + used, client.stash_bytes)
        self.refill(index, now_ns)

    cdef void refill(self, uint32_t index, int64_t now_ns) noexcept nogil:
        cdef Client *client = &self.client[index]
        if client.pending_end or client.fd < 0:
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
        cdef Client *client = &self.client[index]
        cdef uint8_t *at
        cdef uint32_t depth = self.depth
        if self.phase == PRELOAD:
            depth = PRELOAD_DEPTH if index < PRELOAD_CLIENTS else 0
        elif self.phase != WARMING and self.phase != MEASURING:
            return
        while client.fd >= 0 and client.pending_end == 0:
            at = self.outbound
            while client.count < depth and at < self.outbound + BATCH_BYTES:
                if self.phase == PRELOAD and self.preload_next >= self.preload_total:
                    break
                if self.phase != PRELOAD and self.requests_left == 0:
                    break
                at = self.put(client, at, now_ns, now_ns)
            if at == self.outbound:
                return
            self.deliver(index, at - self.outbound, now_ns)

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
            client = &self.client[index]
            self.idle_head = (self.idle_head + 1) % self.clients
            self.idle_count -= 1
            client.queued = False
            if client.fd < 0 or client.connecting or client.pending_end or client.count >= self.depth:
                continue
            at = self.put(client, self.outbound, due_ns, now_ns)
            self.scheduled += 1
            self.deliver(index, at - self.outbound, now_ns)
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

    cdef void deliver(self, uint32_t index, size_t length, int64_t now_ns) noexcept nogil:
        cdef Client *client = &self.client[index]
        cdef ssize_t n = c_send(client.fd, self.outbound, length, MSG_NOSIGNAL | MSG_DONTWAIT)
        cdef uint8_t *grown
        if n < 0:
            if errno != EAGAIN and errno != EINTR:
                self.lose(index, now_ns, False)
                return
            n = 0
        self.checker.tally.bytes_out += n
        if <size_t>n == length:
            return
        length -= n
        if client.pending_room < length:
            grown = <uint8_t *>realloc(client.pending, length)
            if grown == NULL:
                self.lose(index, now_ns, False)
                return
            client.pending = grown
            client.pending_room = length
        memcpy(client.pending, self.outbound + n, length)
        client.pending_start = 0
        client.pending_end = length
        self.watch(index, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT)

    cdef void flush(self, uint32_t index, int64_t now_ns) noexcept nogil:
        cdef Client *client = &self.client[index]
        cdef ssize_t n
        if client.pending_end:
            n = c_send(
                client.fd, client.pending + client.pending_start, client.pending_end - client.pending_start,
                MSG_NOSIGNAL | MSG_DONTWAIT,
            )
            if n < 0:
                if errno != EAGAIN and errno != EINTR:
                    self.lose(index, now_ns, False)
                return
            self.checker.tally.bytes_out += n
            client.pending_start += n
            if client.pending_start < client.pending_end:
                return
            client.pending_start = client.pending_end = 0
        self.watch(index, EPOLL_CTL_MOD, EPOLLIN)
        self.refill(index, now_ns)

    # Connections.

    cdef void watch(self, uint32_t index, int operation, uint32_t events) noexcept nogil:
        cdef epoll_event event
        memset(&event, 0, sizeof(event))
        event.events = events
        event.data.u32 = index
        epoll_ctl(self.poll_fd, operation, self.client[index].fd, &event)

    cdef void begin_connect(self, uint32_t index, int64_t now_ns) noexcept nogil:
        cdef Client *client = &self.client[index]
        cdef int one = 1, rc
        client.fd = c_socket(self.address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)
        if client.fd < 0:
            if self.phase == CONNECTING:
                self.connect_errno = errno
            client.since_ns = now_ns + RETRY_NS
            return
        if self.address.ss_family != AF_UNIX:
            setsockopt(client.fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one))
        rc = c_connect(client.fd, <const sockaddr *>&self.address, self.address_bytes)
        if rc < 0 and errno != EINPROGRESS:
            # A Unix socket whose backlog is full says EAGAIN at once: it is tried again.
            if errno != EAGAIN and self.phase == CONNECTING:
                self.connect_errno = errno
            c_close(client.fd)
            client.fd = -1
            client.since_ns = now_ns + (1000000 if self.phase == CONNECTING else RETRY_NS)
            return
        client.connecting = True
        client.since_ns = now_ns
        self.opening += 1
        self.watch(index, EPOLL_CTL_ADD, EPOLLIN | EPOLLOUT)

    cdef void finish_connect(self, uint32_t index, int64_t now_ns) noexcept nogil:
        cdef Client *client = &self.client[index]
        cdef int error = 0
        cdef unsigned int size = sizeof(error)
        getsockopt(client.fd, SOL_SOCKET, SO_ERROR, &error, &size)
        if error:
            if self.phase == CONNECTING:
                self.connect_errno = error
            self.lose(index, now_ns, False)
            return
        client.connecting = False
        self.opening -= 1
        self.connected += 1
        self.watch(index, EPOLL_CTL_MOD, EPOLLIN)
        self.refill(index, now_ns)

    cdef void lose(self, uint32_t index, int64_t now_ns, bint timed_out) noexcept nogil:
        """The connection is of no more use: what it carried is lost, a later scan connects again."""
        cdef Client *client = &self.client[index]
        cdef Flight *flight
        cdef uint32_t i
        c_close(client.fd)
        client.fd = -1
        if client.connecting:
            self.opening -= 1
            client.connecting = False
        else:
            self.connected -= 1
            if timed_out:
                self.checker.tally.timeouts += 1
            else:
                self.checker.tally.connections_lost += 1
            if self.phase == CONNECTING and not self.connect_errno:
                self.connect_errno = ECONNRESET
        for i in range(client.count):
            flight = &client.flights[(client.head + i) % self.checker.ring]
            if flight.purpose == COUNTED:
                self.checker.tally.lost_requests += 1
                if timed_out:
                    self.checker.latency.add(now_ns - flight.intended_ns)
        if self.phase == PRELOAD:
            self.preload_losses += 1
            if self.preload_losses >= PRELOAD_LOSSES_MAX:
                self.preload_next = self.preload_total
        self.checker.in_flight -= client.count
        client.head = client.count = 0
        client.in_body = False
        client.stash_bytes = 0
        client.pending_start = client.pending_end = 0
        client.since_ns = now_ns + RETRY_NS

    cdef void scan(self, int64_t now_ns) noexcept nogil:
        """Clients that wait too long, and those that have no connection."""
        cdef uint32_t i
        cdef Client *client
        self.next_scan_ns = now_ns + SCAN_NS
        for i in range(self.clients):
            client = &self.client[i]
            if client.fd < 0:
                if self.opening < OPENING_MAX and now_ns >= client.since_ns and self.connect_errno == 0:
                    self.begin_connect(i, now_ns)
            elif client.connecting:
                if now_ns - client.since_ns > self.timeout_ns:
                    self.lose(i, now_ns, True)
            elif client.count and now_ns - client.flights[client.head].sent_ns > self.timeout_ns:
                self.lose(i, now_ns, True)

    cdef void kick(self, int64_t now_ns) noexcept nogil:
        """A phase begins: every client that has room gets its first requests."""
        cdef uint32_t i
        for i in range(self.clients):
            self.client[i].queued = False
            if self.client[i].fd >= 0 and not self.client[i].connecting:
                self.refill(i, now_ns)
