# cython: cdivision=True
"""The clients' sockets: connected a few at a time, read, written, lost and connected again.

    not connected ─▶ connecting ─▶ up ──┬─▶ lost: closed, refused, timed out, framing lost
         ▲                              │     what it carried is counted as lost
         └──────────── retry_ns ────────┘

Invariants: what a socket did not take waits in `pending`, and until it is gone nothing new is sent; the
bytes of a reply are looked at once, in the buffer that all clients share, and only the beginning of a
line is kept. Whoever decides what to send asks for nothing here but the answer "this client has room".
"""

cimport cython
from libc.errno cimport EAGAIN, ECONNRESET, EINPROGRESS, EINTR, ETIMEDOUT, errno
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcpy, memset, strerror

from memagent._bench.posix cimport (
    AF_UNIX,
    EPOLL_CLOEXEC,
    EPOLL_CTL_ADD,
    EPOLL_CTL_MOD,
    EPOLLIN,
    EPOLLOUT,
    IPPROTO_TCP,
    MSG_DONTWAIT,
    MSG_NOSIGNAL,
    POLLIN,
    SO_ERROR,
    SOCK_CLOEXEC,
    SOCK_NONBLOCK,
    SOCK_STREAM,
    SOL_SOCKET,
    TCP_NODELAY,
    c_close,
    c_connect,
    c_recv,
    c_send,
    c_socket,
    clock_ns,
    epoll_create1,
    epoll_ctl,
    epoll_wait,
    getsockopt,
    htons,
    pollfd,
    setsockopt,
    sockaddr,
    sockaddr_in,
    sockaddr_in6,
    sockaddr_un,
    timespec,
    wait_for,
)
from memagent._bench.replies cimport COUNTED, STASH_BYTES, Flight
from memagent._bench.workload cimport GETS, SET

import socket

cdef enum:
    INBOUND_BYTES = 256 * 1024
    OPENING_MAX = 64


@cython.final
cdef class Connections:
    def __cinit__(self, Checker checker, *, family, host, port, clients, timeout_s):
        """`host` is a numeric address, or the path of a Unix socket."""
        cdef uint32_t i
        cdef size_t request_bytes = checker.workload.request_bytes_max(SET)
        self.poll_fd = -1
        self.checker = checker
        self.timeout_ns = <int64_t>(timeout_s * 1e9)
        self.retry_ns = RETRY_NS
        self._set_address(family, host, port)
        request_bytes = max(request_bytes, checker.workload.request_bytes_max(GETS))
        self.inbound = <uint8_t *>malloc(INBOUND_BYTES + STASH_BYTES)
        self.outbound = <uint8_t *>malloc(BATCH_BYTES + request_bytes)
        self.events = <epoll_event *>calloc(EVENTS_MAX, sizeof(epoll_event))
        self.client = <Client *>calloc(clients, sizeof(Client))
        if self.inbound == NULL or self.outbound == NULL or self.events == NULL or self.client == NULL:
            raise MemoryError
        self.clients = clients
        for i in range(self.clients):
            self.client[i].fd = -1
        for i in range(self.clients):
            self.client[i].flights = <Flight *>calloc(checker.ring, sizeof(Flight))
            self.client[i].asked = <uint32_t *>calloc(
                <size_t>checker.ring * checker.workload.width, sizeof(uint32_t)
            )
            if self.client[i].flights == NULL or self.client[i].asked == NULL:
                raise MemoryError
        self.poll_fd = epoll_create1(EPOLL_CLOEXEC)
        if self.poll_fd < 0:
            raise OSError(errno, strerror(errno).decode())

    def __dealloc__(self):
        cdef uint32_t i
        self.close()
        for i in range(self.clients):
            free(self.client[i].flights)
            free(self.client[i].asked)
            free(self.client[i].pending)
        if self.poll_fd >= 0:
            c_close(self.poll_fd)
        free(self.client)
        free(self.events)
        free(self.inbound)
        free(self.outbound)

    def close(self):
        """A server sees every connection end."""
        cdef uint32_t i
        for i in range(self.clients):
            if self.client[i].fd >= 0:
                c_close(self.client[i].fd)
                self.client[i].fd = -1

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

    cdef int wait(self, int64_t wait_ns, bint precise) noexcept nogil:
        """How many events are there; -1: a signal came."""
        cdef timespec pause
        cdef pollfd watched
        cdef int n
        wait_ns = max(wait_ns, <int64_t>0)
        if precise and wait_ns:
            # epoll_wait counts in milliseconds, too coarse for a schedule.
            pause.tv_sec = wait_ns // 1000000000
            pause.tv_nsec = wait_ns % 1000000000
            watched.fd = self.poll_fd
            watched.events = POLLIN
            n = wait_for(&watched, &pause)
            if n <= 0:
                return n
            wait_ns = 0
        return epoll_wait(self.poll_fd, self.events, EVENTS_MAX, <int>((wait_ns + 999999) // 1000000))

    cdef bint has_room(self, uint32_t index) noexcept nogil:
        cdef Client *client = &self.client[index]
        return client.fd >= 0 and not client.connecting and client.pending_end == 0

    cdef bint receive(self, uint32_t index) noexcept nogil:
        """Reads once and settles what was answered; True: the client has room."""
        cdef Client *client = &self.client[index]
        cdef uint32_t kept = client.stash_bytes
        cdef ssize_t n
        cdef int64_t now_ns, used
        # What was kept lies directly before the new bytes, so that a line is always in one piece.
        cdef uint8_t *start = self.inbound + STASH_BYTES - kept
        n = c_recv(client.fd, self.inbound + STASH_BYTES, INBOUND_BYTES, MSG_DONTWAIT)
        if n < 0 and (errno == EAGAIN or errno == EINTR):
            return False
        now_ns = clock_ns()
        if n <= 0:
            self.lose(index, now_ns, False)
            return False
        self.checker.tally.bytes_in += n
        if kept:
            memcpy(start, client.stash, kept)
            client.stash_bytes = 0
        used = self.checker.consume(client, start, kept + n, now_ns)
        if used < 0:
            self.lose(index, now_ns, False)
            return False
        if used < kept + n:
            client.stash_bytes = <uint32_t>(kept + n - used)
            memcpy(client.stash, start + used, client.stash_bytes)
        return client.pending_end == 0

    cdef bint deliver(self, uint32_t index, size_t length, int64_t now_ns) noexcept nogil:
        """Sends what was built in `outbound`; True: the socket took it all."""
        cdef Client *client = &self.client[index]
        cdef ssize_t n = c_send(client.fd, self.outbound, length, MSG_NOSIGNAL | MSG_DONTWAIT)
        cdef uint8_t *grown
        if n < 0:
            if errno != EAGAIN and errno != EINTR:
                self.lose(index, now_ns, False)
                return False
            n = 0
        self.checker.tally.bytes_out += n
        if <size_t>n == length:
            return True
        length -= n
        if client.pending_room < length:
            grown = <uint8_t *>realloc(client.pending, length)
            if grown == NULL:
                self.lose(index, now_ns, False)
                return False
            client.pending = grown
            client.pending_room = length
        memcpy(client.pending, self.outbound + n, length)
        client.pending_start = 0
        client.pending_end = length
        self.watch(index, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT)
        return False

    cdef bint flush(self, uint32_t index, int64_t now_ns) noexcept nogil:
        """The socket takes bytes again; True: nothing is left, the client has room."""
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
                return False
            self.checker.tally.bytes_out += n
            client.pending_start += n
            if client.pending_start < client.pending_end:
                return False
            client.pending_start = client.pending_end = 0
        self.watch(index, EPOLL_CTL_MOD, EPOLLIN)
        return True

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
            self.failed(errno)
            client.since_ns = now_ns + self.retry_ns
            return
        if self.address.ss_family != AF_UNIX:
            setsockopt(client.fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one))
        rc = c_connect(client.fd, <const sockaddr *>&self.address, self.address_bytes)
        if rc < 0 and errno != EINPROGRESS:
            # A Unix socket whose backlog is full says EAGAIN at once: it is tried again.
            if errno != EAGAIN:
                self.failed(errno)
            c_close(client.fd)
            client.fd = -1
            client.since_ns = now_ns + self.retry_ns
            return
        client.connecting = True
        client.since_ns = now_ns
        self.opening += 1
        self.watch(index, EPOLL_CTL_ADD, EPOLLIN | EPOLLOUT)

    cdef bint finish_connect(self, uint32_t index, int64_t now_ns) noexcept nogil:
        cdef Client *client = &self.client[index]
        cdef int error = 0
        cdef unsigned int size = sizeof(error)
        getsockopt(client.fd, SOL_SOCKET, SO_ERROR, &error, &size)
        if error:
            self.failed(error)
            self.lose(index, now_ns, False)
            return False
        client.connecting = False
        self.opening -= 1
        self.connected += 1
        self.watch(index, EPOLL_CTL_MOD, EPOLLIN)
        return True

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
            self.losses += 1
            self.failed(ECONNRESET)
        for i in range(client.count):
            flight = &client.flights[(client.head + i) % self.checker.ring]
            if flight.purpose == COUNTED:
                self.checker.tally.lost_requests += 1
                if timed_out:
                    self.checker.latency.add(now_ns - flight.intended_ns)
        self.checker.in_flight -= client.count
        client.head = client.count = 0
        client.in_body = False
        client.stash_bytes = 0
        client.pending_start = client.pending_end = 0
        client.since_ns = now_ns + self.retry_ns

    cdef void scan(self, int64_t now_ns) noexcept nogil:
        """Clients that wait too long, and those that have no connection."""
        cdef uint32_t i
        cdef Client *client
        for i in range(self.clients):
            client = &self.client[i]
            if client.fd < 0:
                if self.opening < OPENING_MAX and now_ns >= client.since_ns:
                    self.begin_connect(i, now_ns)
            elif client.connecting:
                if now_ns - client.since_ns > self.timeout_ns:
                    self.failed(ETIMEDOUT)
                    self.lose(i, now_ns, True)
            elif client.count and now_ns - client.flights[client.head].sent_ns > self.timeout_ns:
                self.lose(i, now_ns, True)

    cdef void failed(self, int number) noexcept nogil:
        if self.first_errno == 0:
            self.first_errno = number
