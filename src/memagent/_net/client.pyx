"""A client's socket: bytes to its session, bytes from it; what they mean is the session's business.

Invariants:
- `readable` is true whenever the socket may hold bytes that were not read: epoll reports an edge only once.
- While the session does not want more, nothing is read: TCP makes the client wait.
- A client that has shut down its sending side still gets the replies to what it asked.
"""

cimport cython
from libc.stdint cimport uint32_t

import os
import socket

from memagent._core.buffer cimport Buffer
from memagent._core.metrics cimport (
    W_BYTES_READ,
    W_BYTES_WRITTEN,
    W_CLIENT_CLOSED_DRAIN,
    W_CLIENT_CLOSED_PROTOCOL,
    W_CLIENT_CLOSED_RESET,
    W_CLIENT_CLOSED_UNREAD,
    W_CURR_CONNECTIONS,
    W_LOOP_TURNS,
)
from memagent._core.routes cimport Routes
from memagent._core.session cimport Session
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
    SHUT_WR,
    errno,
    recv,
    send,
    shutdown,
)
from memagent._net.posix cimport close as close_fd

cdef enum:
    LINGER_US = 2_000_000
    DISCARDED_BYTES = 8 * 1024 * 1024
    READ_BUDGET_BYTES = 512 * 1024   # of one client in one turn: others want their turn too


@cython.final
cdef class ClientConnection(Handler):
    def __cinit__(self, Poller poller not None, int fd, Routes routes not None):
        self.poller = poller
        self.fd = fd
        self.session = Session(poller.context, routes)
        self.session.connection = self
        # first what may fail: a client that nobody watches must not be counted, and its fd is soon another's
        poller.watch(self, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET)
        poller.clients.add(self)
        poller.counters.slot[W_CURR_CONNECTIONS] += 1

    cdef int ready(self, uint32_t events) except -1:
        if self.linger_until_us:
            return self.discard()
        if events & EPOLLERR:
            return self.close(W_CLIENT_CLOSED_RESET)
        if events & (EPOLLRDHUP | EPOLLHUP):
            # what it sent before it hung up is carried out all the same
            self.half_closed = True
        if events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP):
            self.readable = True
            if self.session.wants_more():
                self.read()
                if self.fd >= 0 and self.readable and self.session.wants_more():
                    # its share of this turn is used up: come back for the rest, there may be no other edge
                    self.session.mark()
        if self.fd >= 0 and events & EPOLLOUT:
            self.blocked = False
            if self.session.out.length():
                self.session.mark()
        return 0

    cdef int read(self) except -1:
        """Read until the socket is empty or the session has enough for now."""
        cdef Session session = self.session
        cdef Buffer left = session.left
        cdef unsigned char *target
        cdef size_t room
        cdef ssize_t n
        if self.budget_turn != self.poller.counters.slot[W_LOOP_TURNS]:
            self.budget_turn = self.poller.counters.slot[W_LOOP_TURNS]
            self.budget = READ_BUDGET_BYTES
        while self.readable and self.budget and self.fd >= 0 and session.wants_more():
            if left.length() == 0:
                target = self.poller.scratch
                room = SCRATCH_BYTES
            else:
                # the rest of a request of known length is read where it will be parsed
                room = max(session.need - left.length() if session.need > left.length() else 0, <size_t> 4096)
                room = max(room, left.capacity - left.end)
                target = left.room(room)
            n = recv(self.fd, target, room, 0)
            if n > 0:
                self.poller.counters.slot[W_BYTES_READ] += n
                self.budget -= min(self.budget, <size_t> n)
                # a short read empties the socket, but the end of the stream may stand behind it, reported with the bytes
                self.readable = <size_t> n == room or self.half_closed or self.draining
                if left.length() == 0:
                    session.received(target, n)
                else:
                    left.filled(n)
                    session.resume()
            elif n == 0:
                self.readable = False
                self.ended = True
                if session.under_way == 0 and session.out.length() == 0 and left.length() == 0:
                    return self.close(session.end_counter)
                session.mark()
            elif errno == EAGAIN:
                self.readable = False
                self.ended = self.draining
            elif errno != EINTR:
                return self.close(W_CLIENT_CLOSED_RESET)
        return 0

    cdef int flush(self) except -1:
        cdef Buffer out = self.session.out
        cdef ssize_t n
        while out.length():
            n = send(self.fd, out.head(), out.length(), MSG_NOSIGNAL)
            if n > 0:
                self.poller.counters.slot[W_BYTES_WRITTEN] += n
                out.consume(n)
            elif n < 0 and errno == EAGAIN:
                self.blocked = True
                break
            elif n < 0 and errno != EINTR:
                return self.close(W_CLIENT_CLOSED_RESET)
        return 0

    cdef Again turn_end(self) except *:
        """Write what is ready, then go on with what had to wait. Says whether to come back, and when."""
        cdef Session session = self.session
        cdef size_t before
        if self.fd < 0 or self.linger_until_us:
            return NOT_AGAIN
        if not self.blocked and session.should_flush():
            self.flush()
        if session.overflowed and self.fd >= 0:
            self.close(W_CLIENT_CLOSED_UNREAD)
            return NOT_AGAIN
        while self.fd >= 0 and session.wants_more() and session.left.length():
            before = session.left.length()
            session.resume()
            if session.left.length() == before:
                break
        if self.readable and self.fd >= 0 and session.wants_more():
            self.read()
        if self.ended and self.fd >= 0 and session.wants_more():
            # nothing under way, and what is left will never be a whole request
            session.closing = True
            session.left.clear()
        if session.closing and session.under_way == 0 and session.out.length() == 0 and self.fd >= 0:
            if session.end_counter == W_CLIENT_CLOSED_PROTOCOL:
                self.linger()
            else:
                self.close(session.end_counter)
            return NOT_AGAIN
        if self.fd >= 0 and self.readable and session.wants_more():
            return AT_ONCE
        return SOON if session.under_way > 0 and session.out.length() > 0 and not self.blocked else NOT_AGAIN

    cdef int linger(self) except -1:
        """Say the end and wait for the client to hang up: closed with bytes unread, the socket would be reset, and the
        client might never see the error that it was sent."""
        if self.linger_until_us:
            return 0
        shutdown(self.fd, SHUT_WR)
        self.linger_until_us = self.poller.context.turn.now_us + LINGER_US
        self.poller.lingering.append(self)
        self.poller.work_ahead = True
        return self.discard()

    cdef int discard(self) except -1:
        """Read on without looking."""
        cdef ssize_t n
        while self.fd >= 0:
            n = recv(self.fd, self.poller.scratch, SCRATCH_BYTES, 0)
            if n > 0:
                self.poller.counters.slot[W_BYTES_READ] += n
                self.discarded += n
                if self.discarded > DISCARDED_BYTES:
                    # it does not want to hear it
                    return self.close(self.session.end_counter)
            elif n == 0 or (errno != EAGAIN and errno != EINTR):
                return self.close(self.session.end_counter)
            elif errno == EAGAIN:
                return 0
        return 0

    cdef bint linger_over(self) except -1:
        """To be called now and then; true once it is closed."""
        if self.fd >= 0 and self.poller.context.turn.now_us >= self.linger_until_us:
            self.close(self.session.end_counter)
        return self.fd < 0

    cdef int close(self, int reason) except -1:
        """`reason` is the counter of connections that ended this way."""
        if self.fd < 0:
            return 0
        self.poller.counters.slot[reason] += 1
        self.poller.counters.slot[W_CURR_CONNECTIONS] -= 1
        self.poller.forget(self)
        self.session.abandon()
        self.session.connection = None
        close_fd(self.fd)
        self.fd = -1
        self.poller.clients.discard(self)
        return 0

    def peer(self):
        """Who it is, for people: host:port, [v6]:port, unix; empty where that is not known any more."""
        try:
            with socket.socket(fileno=os.dup(self.fd)) as copy:
                peer = copy.getpeername()
        except OSError:
            return b""
        if not isinstance(peer, tuple):
            return b"unix"
        host, port = peer[:2]
        return f"[{host}]:{port}".encode() if ":" in host else f"{host}:{port}".encode()

    cdef int drain(self) except -1:
        """Answer what has arrived, then close."""
        if self.fd < 0 or self.linger_until_us:
            return 0
        self.draining = self.readable = True
        if not self.session.closing:
            self.session.end_counter = W_CLIENT_CLOSED_DRAIN
        return self.session.mark()
