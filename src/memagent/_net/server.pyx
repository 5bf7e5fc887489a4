"""Sockets to memcached servers: one Link per channel, one Endpoint per server.

           connect            writable, no error            the server has said who it is
    CLOSED ───────▶ CONNECTING ────────────────▶ GREETING ────────────────────────────────▶ OPEN
       ▲               │ refused or too late: the next address; after the last one: the server is down
       └───────────────┴──────────────────────────┴──────────────────────────────────────────┘
                                         ended: at once again, while the server is up

Invariants (behaviour section 3):
- Nothing is sent on a connection before it is known which process answers there.
- A server goes down at once when a connection cannot be made or made again, and when `failure_limit` connections in a
  row end before they gave a reply: a server that accepts and hangs up must not be called again for ever.
- Requests that the socket has not taken wait for the new connection; those that it has taken have failed.
- While the server is down only its first link connects, for a probe, and on a fresh connection each time.
- Where there are copies, no connection is dropped on which the server may still do what it was sent: it lingers.
- A connection that a server closes while nothing is under way (idle_timeout) means nothing.
"""

import errno as errors
import os
import socket

cimport cython
from libc.stdint cimport uint32_t

from memagent._core.buffer cimport Buffer
from memagent._core.channel cimport F_DOWN, F_GARBAGE, F_REFUSED, F_RESET, F_TIMED_OUT, Channel, Failure
from memagent._core.identity import GREETING as GREETING_WORDS, read_greeting
from memagent._core.metrics cimport (
    S_BYTES_RECEIVED,
    S_BYTES_SENT,
    S_CONNECT_FAILURES,
    S_CONNECTIONS,
    S_CONNECTS,
    S_GARBAGE_REPLIES,
    S_IN_FLIGHT,
    S_JOURNAL_BYTES,
    S_JOURNAL_KEYS,
    S_PENDING,
    S_QUEUED_BYTES,
    S_RESETS,
)
from memagent._core.server cimport DOWN, RETURNING, UP, Server
from memagent._net.lingering cimport linger
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
    LEAVE_US = 1_000_000
    # How long a connection lives whose other side is not there any more.
    UNACKNOWLEDGED_MS = 10_000
    KEEPALIVE_IDLE_S = 10
    KEEPALIVE_INTERVAL_S = 3
    KEEPALIVE_PROBES = 3


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
                    be_mortal(self.socket)
                code = self.socket.connect_ex(address)
                if code == 0 or code == errors.EINPROGRESS:
                    self.fd = self.socket.fileno()
                    endpoint.poller.watch(self, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET)
                    self.state = CONNECTING
                    self.due_us = endpoint.poller.context.turn.now_us + endpoint.connect_timeout_us
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
        return endpoint.unreachable(f"cannot connect: {reason}")

    cdef int opened(self) except -1:
        cdef Server server = self.endpoint.server
        self.state = GREETING
        self.heard = self.ended = False
        self.writable = True
        self.opened_us = self.endpoint.poller.context.turn.now_us
        self.due_us = self.opened_us + server.request_timeout_us
        server.counters.slot[S_CONNECTS] += 1
        server.counters.slot[S_CONNECTIONS] += 1
        if server.state == DOWN:
            server.begin_probe()
        return self.greet()

    cdef int greet(self) except -1:
        """Ask who is there. A fresh socket takes a few bytes at once."""
        cdef bytes words = GREETING_WORDS
        cdef ssize_t n = send(self.fd, <const unsigned char *> words, len(words), MSG_NOSIGNAL)
        self.greeting = b""
        if n != len(words):
            return self.lost(F_RESET, os.strerror(errno) if n < 0 else "it takes nothing")
        return 0

    cdef int hear_greeting(self) except -1:
        cdef Server server = self.endpoint.server
        cdef ssize_t n
        while True:
            n = recv(self.fd, self.endpoint.poller.scratch, SCRATCH_BYTES, 0)
            if n > 0:
                self.greeting += self.endpoint.poller.scratch[:n]
                try:
                    who = read_greeting(self.greeting)
                except ValueError as error:
                    server.counters.slot[S_GARBAGE_REPLIES] += 1
                    return self.lost(F_GARBAGE, f"it sent {error}")
                if who is not None:
                    break
            elif n == 0:
                return self.lost(F_RESET, "it closed the connection")
            elif errno == EAGAIN:
                return 0
            elif errno != EINTR:
                return self.lost(F_RESET, os.strerror(errno))
        self.state = OPEN
        self.greeting = None
        server.heard_us = self.endpoint.poller.context.turn.now_us
        return self.flush() if server.greeted(who) else 0

    cdef int ready(self, uint32_t events) except -1:
        if self.state == CONNECTING:
            code = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code or events & (EPOLLERR | EPOLLHUP):
                return self.failed_to_connect(os.strerror(code))
            if not events & EPOLLOUT:
                return 0
            self.opened()
        if events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR) and self.state == GREETING:
            self.hear_greeting()
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
        return endpoint.unreachable(f"cannot connect: {reason}")

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
            return self.connect() if self.endpoint.server.state != DOWN and out.length() else 0
        if self.state != OPEN or not self.writable:
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
        """The connection has ended, or is of no use."""
        cdef Endpoint endpoint = self.endpoint
        cdef Server server = endpoint.server
        cdef bint young = endpoint.poller.context.turn.now_us - self.opened_us < YOUNG_US
        server.counters.slot[S_RESETS] += 1
        if not self.heard and (young or self.state == GREETING or self.channel.is_sent(0)):
            # not one that was only idle: servers may close those
            endpoint.failures_in_row += 1
        if why == F_RESET:
            if self.channel.is_sent(0):
                server.unsettled = True
            self.close()
        else:
            self.let_go()
        if server.state == DOWN:
            self.channel.lost(why, False)
            if server.probing and self is endpoint.links[0]:
                server.probe_failed()
            return 0
        if server.state == RETURNING or endpoint.failures_in_row >= server.failure_limit:
            return endpoint.down(why, reason)
        self.channel.lost(why, True)
        # whoever awaited a reply may have taken the server down
        return self.connect() if server.up else 0

    cdef object unplug(self):
        """The socket, which nobody watches any more; None if there is none."""
        cdef object connection = self.socket
        if self.state == CLOSED:
            return None
        if self.state >= GREETING:
            self.endpoint.server.counters.slot[S_CONNECTIONS] -= 1
        self.endpoint.poller.forget(self)
        self.socket = None
        self.fd = -1
        self.state = CLOSED
        return connection

    cdef int close(self) except -1:
        cdef object connection = self.unplug()
        if connection is not None:
            connection.close()
        return 0

    cdef int let_go(self) except -1:
        """Close it, but not under a server that may still do what it was sent."""
        if self.state == OPEN and self.endpoint.server.has_copies and self.channel.is_sent(0):
            return linger(self.endpoint.server, self.endpoint.poller, self.unplug())
        return self.close()

    cdef int tick(self) except -1:
        if self.state == CONNECTING and self.endpoint.poller.context.turn.now_us >= self.due_us:
            return self.failed_to_connect("no answer in time")
        if self.state == GREETING and self.endpoint.poller.context.turn.now_us >= self.due_us:
            return self.lost(F_TIMED_OUT, "it did not say who it is in time")
        return 0


@cython.final
cdef class Endpoint:
    """A server, its addresses and its links. `on_connect(server index)` says that a connection is about to be made.

    `connect_timeout_us` is to be set before it connects.
    """

    def __cinit__(self, Server server not None, Poller poller not None, list addresses not None, *,
                  object on_connect=None):
        self.server = server
        server.connection = self
        self.poller = poller
        self.addresses = addresses
        self.on_connect = on_connect
        self.links = [Link(self, channel) for channel in server.channels]

    def set_addresses(self, list addresses not None):
        """What the name means now. Takes effect with the next connection."""
        if addresses:
            self.addresses = addresses

    def hold(self, str reason not None):
        """Out of service, by an operator's wish."""
        self.server.hold(reason)
        self.poller.work_ahead = True

    def release(self):
        """Back. An idle loop sleeps until there are events, and this is none: it has to be told to probe."""
        self.server.release()
        self.poller.work_ahead = True

    def replace(self, list addresses not None, bint keep_data=False):
        """Another machine takes the server's place."""
        cdef Link link
        for link in self.links:
            link.close()
        self.addresses = addresses
        self.failures_in_row = 0
        self.server.become_another(keep_data)
        self.poller.work_ahead = True

    def leave(self, str reason not None):
        """It is configured no more: finish what is under way, then `has_left`."""
        cdef Server server = self.server
        server.on_change = server.on_played = server.live_places = self.on_connect = None
        self.hold(reason)
        # whoever is under way may still count there, whatever becomes of the connections
        self.leaves_us = server.turn.now_us + 2 * server.request_timeout_us + LEAVE_US

    cdef bint has_left(self) noexcept:
        cdef Link link
        if not self.leaves_us or self.server.turn.now_us < self.leaves_us:
            return False
        for link in self.links:
            if link.state != CLOSED:
                return False
        return True

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
            link.let_go()
        self.failures_in_row = 0
        self.poller.work_ahead = True
        return self.server.tear_down()

    cdef int down(self, Failure why, str reason) except -1:
        cdef Link link
        for link in self.links:
            link.let_go()
        self.failures_in_row = 0
        self.poller.work_ahead = True
        return self.server.go_down(why, reason)

    cdef int unreachable(self, str reason) except -1:
        """No connection can be made."""
        if self.server.state != DOWN:
            return self.down(F_REFUSED, reason)
        if self.server.probing:
            self.server.probe_failed()
        return 0

    cdef int tick(self) except -1:
        """End what is over, go on with what is under way, and probe when it is time."""
        cdef Server server = self.server
        cdef Link link
        server.expire()
        for link in self.links:
            link.tick()
        server.advance()
        if server.fallen:
            return self.tear_down()
        if server.state != DOWN:
            return 0
        if server.held:
            return self.finish_held()
        if not server.probing:
            for link in self.links:
                # after a failed probe, or after the timeouts that made it go down
                if link.state != CLOSED:
                    link.let_go()
                    link.channel.lost(F_TIMED_OUT, False)
            if self.poller.context.turn.now_us >= server.probe_at_us:
                server.probing = True
                (<Link> self.links[0]).connect()
        return 0

    cdef int finish_held(self) except -1:
        """Close what has nothing to do any more."""
        cdef Link link
        for link in self.links:
            if link.state != OPEN or link.channel.nobody_waits():
                link.let_go()
                link.channel.lost(F_DOWN, False)
        return 0

    cdef Pace pace(self) noexcept:
        """Is there anything that time could change?"""
        cdef Server server = self.server
        cdef Link link
        cdef Pace pace = IDLE
        cdef size_t pending = 0
        cdef size_t count = 0
        cdef size_t queued = 0
        if server.state != UP or server.standing.opened_now() < server.joined:
            pace = BUSY
        elif server.has_copies:
            pace = SLOW
        for link in self.links:
            if link.state == CONNECTING or link.state == GREETING or link.channel.count:
                pace = BUSY
            pending += link.channel.pending()
            count += link.channel.count
            queued += link.channel.out.length()
        server.counters.slot[S_PENDING] = pending
        server.counters.slot[S_IN_FLIGHT] = count - pending
        server.counters.slot[S_QUEUED_BYTES] = queued
        server.counters.slot[S_JOURNAL_KEYS] = server.journal.count
        server.counters.slot[S_JOURNAL_BYTES] = server.journal.used_bytes
        return pace


cdef be_mortal(object connection):
    """No delays, and an end even where the other side has gone without a word."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE_S)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEPALIVE_PROBES)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED_MS)
