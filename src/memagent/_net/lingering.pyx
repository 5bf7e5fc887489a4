"""An old connection whose server may still do what was sent on it: half closed, and read until it ends.

    we: requests ... FIN ──▶ server, when it runs again: does them all, finds the end, closes ──▶ FIN: orderly
                             or the connection is lost (reset, TCP_USER_TIMEOUT, keepalive) ────▶ not orderly

A memcached does everything on a connection in order and closes it when it reads our end: so its own end says that
nothing is left which could be done later. Where a connection is lost instead, its server may have bytes of it that it
has not read yet; `unsettled` notes that, and the server is given a moment for them when it answers again.
"""

import socket as sockets

cimport cython
from libc.stdint cimport uint32_t

from memagent._core.server cimport Server
from memagent._net.poller cimport SCRATCH_BYTES, Handler, Poller
from memagent._net.posix cimport (
    EAGAIN,
    EINTR,
    EPOLLET,
    EPOLLIN,
    EPOLLRDHUP,
    MSG_DONTWAIT,
    errno,
    recv,
)


cdef int linger(Server server, Poller poller, object socket) except -1:
    """Takes over a connected socket that nobody watches any more."""
    cdef Lingering self = Lingering.__new__(Lingering)
    self.server = server
    self.poller = poller
    self.socket = socket
    self.fd = socket.fileno()
    server.lingering += 1
    try:
        socket.shutdown(sockets.SHUT_WR)
    except OSError:
        return self.ended(False)
    return poller.watch(self, EPOLLIN | EPOLLRDHUP | EPOLLET)


@cython.final
cdef class Lingering(Handler):
    cdef int ready(self, uint32_t events) except -1:
        cdef ssize_t n
        while True:
            n = recv(self.fd, self.poller.scratch, SCRATCH_BYTES, MSG_DONTWAIT)
            if n == 0:
                return self.ended(True)
            if n < 0:
                if errno == EAGAIN:
                    return 0
                if errno != EINTR:
                    return self.ended(False)

    cdef int ended(self, bint orderly) except -1:
        self.poller.forget(self)
        self.socket.close()
        self.fd = -1
        self.server.lingering -= 1
        if not orderly:
            self.server.unsettled = True
        return 0
