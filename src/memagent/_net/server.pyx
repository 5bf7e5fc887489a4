"""Sockets to memcached servers: one Link per channel, one Endpoint per server.

           connect            writable, no error
    CLOSED ───────▶ CONNECTING ────────────────▶ OPEN
       ▲               │ refused or too late: the next address; after the last one: the server is down
       └───────────────┴──────────────────────────┘ ended: at once again, while the server is up

Invariants (behaviour section 3):
- A server goes down at once when a connection cannot be made or made again, and when `failure_limit` connections in a
  row end before they gave a reply: a server that accepts and hangs up must not be called again for ever.
- Requests that the socket has not taken wait for the new connection; those that it has taken have failed.
- While the server is down only its first link connects, for a probe, and on a fresh connection each time.
"""

import errno as errors
import os
import socket

cimport cython
from libc.stdint cimport int64_t, uint32_t

from memagent._core.buffer cimport Buffer
from memagent._core.channel cimport F_GARBAGE, F_REFUSED, F_RESET, F_TIMED_OUT, Channel, Failure
from memagent._core.metrics cimport (
    S_BYTES_RECEIVED,
    S_BYTES_SENT,
    S_CONNECT_FAILURES,
    S_CONNECTIONS,
    S_CONNECTS,
    S_GARBAGE_REPLIES,
    S_IN_FLIGHT,
    S_PENDING,
    S_QUEUED_BYTES,
    S_RESETS,
)
from memagent._core.server cimport Server
from memagent._net.poller cimport SCRATCH_BYTES, Handler, Poller
from memagent._net.posix cimport (
    EAGAIN,
    EINTR,
    EPOLLERR,
    EPOLLET,
    EPOLLHUP,
    EPOLLIN,
    EPOLLOUT,
    EPOLLRDHUP,
    MSG_NOSIGNAL,
    errno,
    recv,
    send,
)

cdef enum:
    READ_BUDGET_BYTES = 1024 * 1024   # of one server in one turn: what came must leave before more is taken in
    YOUNG_US = 1_000_000


@cython.final
cdef class Link(Handler):
    """One connection to a server, and the channel that speaks on it."""

    def __cinit__(self, Endpoint endpoint not None, Channel channel not None):
        self.endpoint = endpoint
        self.channel = channel
        channel.connection = self
        self.fd = -1

    cdef int connect(self) except -1:
        """Begin with the first address."""
        self.attempt = 0
        if self.endpoint.on_connect is not None:
            self.endpoint.on_connect(self.endpoint.server.index)
        return self.try_next()

    cdef int try_next(self) except -1:
        cdef Endpoint endpoint = self.endpoint
        cdef int code
        reason = "its name has no address"
        endpoint.poller.work_ahead = True
        while self.attempt < <size_t> len(endpoint.addresses):
            family, address = endpoint.addresses[self.attempt]
            self.attempt += 1
            try:
                self.socket = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
                if family != socket.AF_UNIX:
                    self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                code = self.socket.connect_ex(address)
                if code == 0 or code == errors.EINPROGRESS:
                    self.fd = self.socket.fileno()
                    endpoint.poller.watch(self, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET)
                    self.state = CONNECTING
                    self.connect_by_us = endpoint.poller.context.turn.now_us + endpoint.connect_timeout_us
                    return self.opened() if code == 0 else 0
                reason = os.strerror(code)
            except OSError as error:
                # no file left, or an address that this machine cannot make sense of: this attempt has failed
                reason = error.strerror or str(error)
            if self.socket is not None:
                self.socket.close()
            self.socket = None
            self.fd = -1
            endpoint.server.counters.slot[S_CONNECT_FAILURES] += 1
        if endpoint.server.up:
            return endpoint.down(F_REFUSED, f"cannot connect: {reason}")
        endpoint.server.probe_failed()
        return 0

    cdef int opened(self) except -1:
        cdef Server server = self.endpoint.server
        self.state = OPEN
        self.heard = self.ended = False
        self.writable = True
        self.opened_us = self.endpoint.poller.context.turn.now_us
        server.counters.slot[S_CONNECTS] += 1
        server.counters.slot[S_CONNECTIONS] += 1
        if not server.up:
            server.probe()
        return self.flush()

    cdef int ready(self, uint32_t events) except -1:
        if self.state == CONNECTING:
            code = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code or events & (EPOLLERR | EPOLLHUP):
                return self.failed_to_connect(os.strerror(code))
            if not events & EPOLLOUT:
                return 0
            self.opened()
        if events & EPOLLOUT and self.state == OPEN:
            self.writable = True
            if self.channel.out.length():
                self.flush()
        if events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR) and self.state == OPEN:
            self.ended = self.ended or events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR) != 0
            self.read()
        return 0

    cdef int failed_to_connect(self, str reason) except -1:
        cdef Endpoint endpoint = self.endpoint
        endpoint.server.counters.slot[S_CONNECT_FAILURES] += 1
        self.close()
        if self.attempt < <size_t> len(endpoint.addresses):
            return self.try_next()
        if endpoint.server.up:
            return endpoint.down(F_REFUSED, f"cannot connect: {reason}")
        endpoint.server.probe_failed()
        return 0

    cdef int read(self) except -1:
        """Read until the socket is empty or this turn has had enough of it."""
        cdef Channel channel = self.channel
        cdef Buffer left = channel.left
        cdef unsigned char *target
        cdef size_t room
        cdef ssize_t n
        cdef int replies
        cdef size_t budget = READ_BUDGET_BYTES
        while self.state == OPEN:
            if budget == 0:
                if not self.unread:
                    self.unread = True
                    self.endpoint.poller.unread.append(self)
                return 0
            if left.length() == 0:
                target = self.endpoint.poller.scratch
                room = SCRATCH_BYTES
            else:
                room = max(channel.need - left.length() if channel.need > left.length() else 0, <size_t> SCRATCH_BYTES)
                target = left.room(room)
            n = recv(self.fd, target, room, 0)
            if n > 0:
                self.endpoint.server.counters.slot[S_BYTES_RECEIVED] += n
                self.endpoint.server.heard_us = self.endpoint.poller.context.turn.now_us
                budget -= min(budget, <size_t> n)
                if left.length() == 0:
                    replies = channel.received(target, n)
                else:
                    left.filled(n)
                    replies = channel.resume()
                if replies < 0:
                    self.endpoint.server.counters.slot[S_GARBAGE_REPLIES] += 1
                    return self.lost(F_GARBAGE, f"it sent {channel.reason}")
                if replies:
                    self.heard = True
                    self.endpoint.failures_in_row = 0
                    self.endpoint.server.timeouts_in_row = 0
                # behind a short read only the end of the stream can stand, which is reported with the bytes
                if <size_t> n < room and not self.ended:
                    return 0
            elif n == 0:
                return self.lost(F_RESET, "it closed the connection")
            elif errno == EAGAIN:
                return 0
            elif errno != EINTR:
                return self.lost(F_RESET, os.strerror(errno))
        return 0

    cdef int flush(self) except -1:
        """Send what is pending, over a new connection if there is none."""
        cdef Buffer out = self.channel.out
        cdef ssize_t n
        self.endpoint.poller.work_ahead = True
        if self.state == CLOSED:
            # while the server is down only a probe connects, at its own time
            return self.connect() if self.endpoint.server.up and out.length() else 0
        if self.state == CONNECTING or not self.writable:
            return 0
        while out.length():
            n = send(self.fd, out.head(), out.length(), MSG_NOSIGNAL)
            if n > 0:
                self.endpoint.server.counters.slot[S_BYTES_SENT] += n
                self.channel.sent(n)
            elif n < 0 and errno == EAGAIN:
                self.writable = False
                return 0
            elif n < 0 and errno != EINTR:
                return self.lost(F_RESET, os.strerror(errno))
        return 0

    cdef int lost(self, Failure why, str reason) except -1:
        """The connection has ended."""
        cdef Endpoint endpoint = self.endpoint
        cdef Server server = endpoint.server
        cdef bint young = endpoint.poller.context.turn.now_us - self.opened_us < YOUNG_US
        server.counters.slot[S_RESETS] += 1
        self.close()
        if not self.heard and (young or self.channel.is_sent(0)):
            # not one that was only idle: servers may close those
            endpoint.failures_in_row += 1
        if not server.up:
            self.channel.lost(why, False)
            if server.probing:
                server.probe_failed()
            return 0
        if endpoint.failures_in_row >= server.failure_limit:
            return endpoint.down(why, reason)
        self.channel.lost(why, True)
        # whoever awaited a reply may have taken the server down
        return self.connect() if server.up else 0

    cdef int close(self) except -1:
        if self.state == CLOSED:
            return 0
        if self.state == OPEN:
            self.endpoint.server.counters.slot[S_CONNECTIONS] -= 1
        self.endpoint.poller.forget(self)
        self.socket.close()
        self.socket = None
        self.fd = -1
        self.state = CLOSED
        return 0

    cdef int tick(self) except -1:
        if self.state == CONNECTING and self.endpoint.poller.context.turn.now_us >= self.connect_by_us:
            return self.failed_to_connect("no answer in time")
        return 0


@cython.final
cdef class Endpoint:
    """A server, its addresses and its links. `on_connect(server index)` says that a connection is about to be made."""

    def __cinit__(self, Server server not None, Poller poller not None, list addresses not None, *,
                  int64_t connect_timeout_us, object on_connect=None):
        self.server = server
        server.connection = self
        self.poller = poller
        self.addresses = addresses
        self.connect_timeout_us = connect_timeout_us
        self.on_connect = on_connect
        self.links = [Link(self, channel) for channel in server.channels]

    def set_addresses(self, list addresses not None):
        """What the name means now. Takes effect with the next connection."""
        if addresses:
            self.addresses = addresses

    def connect(self):
        """Connect ahead of the first request."""
        cdef Link link
        for link in self.links:
            if link.state == CLOSED and self.server.up:
                link.connect()

    def close(self):
        cdef Link link
        for link in self.links:
            link.close()

    cdef int tear_down(self) except -1:
        """The server went down in the middle of something."""
        cdef Link link
        if not self.server.fallen:
            return 0
        for link in self.links:
            link.close()
        self.failures_in_row = 0
        self.poller.work_ahead = True
        return self.server.tear_down()

    cdef int down(self, Failure why, str reason) except -1:
        cdef Link link
        for link in self.links:
            link.close()
        self.failures_in_row = 0
        self.poller.work_ahead = True
        return self.server.go_down(why, reason)

    cdef int tick(self) except -1:
        """End what is over, and probe when it is time."""
        cdef Server server = self.server
        cdef Link link
        server.expire()
        for link in self.links:
            link.tick()
        if not server.up and not server.probing:
            for link in self.links:
                # after a failed probe, or after the timeouts that made it go down
                if link.state != CLOSED:
                    link.close()
                    link.channel.lost(F_TIMED_OUT, False)
            if self.poller.context.turn.now_us >= server.probe_at_us:
                server.probing = True
                (<Link> self.links[0]).connect()
        return 0

    cdef bint busy(self) noexcept:
        """Is there anything that time could end?"""
        cdef Link link
        cdef bint found = not self.server.up
        cdef size_t pending = 0
        cdef size_t count = 0
        cdef size_t queued = 0
        for link in self.links:
            if link.state == CONNECTING or link.channel.count:
                found = True
            pending += link.channel.pending()
            count += link.channel.count
            queued += link.channel.out.length()
        self.server.counters.slot[S_PENDING] = pending
        self.server.counters.slot[S_IN_FLIGHT] = count - pending
        self.server.counters.slot[S_QUEUED_BYTES] = queued
        return found
