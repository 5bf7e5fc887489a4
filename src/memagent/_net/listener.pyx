"""A listening socket: accepts, bounds the number of clients, and rests when the machine has no more files.

Sockets of one TCP address share the port (SO_REUSEPORT), one for each worker; a Unix socket is shared by all workers.
"""

cimport cython
from libc.stdint cimport uint32_t

from memagent._core.metrics cimport (
    W_ACCEPT_FAILURES,
    W_CURR_CONNECTIONS,
    W_REJECTED_CONNECTIONS,
    W_TOTAL_CONNECTIONS,
    Block,
)
from memagent._core.routes cimport Routes
from memagent._net.client cimport ClientConnection
from memagent._net.poller cimport Handler, Poller
from memagent._net.posix cimport (
    EAGAIN,
    EINTR,
    EPOLLEXCLUSIVE,
    EPOLLIN,
    IPPROTO_TCP,
    MSG_NOSIGNAL,
    SOCK_CLOEXEC,
    SOCK_NONBLOCK,
    TCP_NODELAY,
    accept4,
    errno,
    send,
    setsockopt,
)
from memagent._net.posix cimport close as close_fd

cdef enum:
    ACCEPTS_A_TURN = 64
    BACKLOG = 4096       # as the supervisor has it
    ECONNABORTED = 103


@cython.final
cdef class Listener(Handler):
    """`worker_blocks` are the counters of all workers: `max_connections`, to be set, bounds their sum.

    `routes`: where the requests go of those who come in here, from now on.
    """

    def __cinit__(self, Poller poller not None, int fd, Routes routes not None, *, bint is_tcp, list worker_blocks not None):
        self.poller = poller
        self.fd = fd
        self.routes = routes
        self.is_late = True
        self.is_tcp = is_tcp
        self.worker_blocks = worker_blocks

    cdef int start(self) except -1:
        self.resting = False
        if self.fd < 0:
            return 0
        # the same socket may be watched by several workers: wake one of them
        return self.poller.watch(self, EPOLLIN | EPOLLEXCLUSIVE)

    cdef int stop(self) except -1:
        return self.poller.forget(self)

    cdef int close(self) except -1:
        """Take the connections that the kernel has made already, then no more."""
        cdef int _i
        if self.fd < 0:
            return 0
        # first forgotten: whoever comes meanwhile wakes another process that has this socket, if there is one
        self.stop()
        self.resting = False
        for _i in range(BACKLOG // ACCEPTS_A_TURN):
            if not self.take():
                break
        return self.leave()

    cdef int leave(self) except -1:
        """No more, and who waits in it is for the other processes that have this socket."""
        if self.fd >= 0:
            # closing alone would not end the watch: the socket lives on in those processes
            self.stop()
            self.resting = False
            close_fd(self.fd)
            self.fd = -1
        return 0

    cdef size_t connections(self) except? 0:
        cdef size_t total = 0
        cdef Block block
        for block in self.worker_blocks:
            total += block.slot[W_CURR_CONNECTIONS]
        return total

    cdef int ready(self, uint32_t events) except -1:
        self.take()
        return 0

    cdef bint take(self) except -1:
        """Some of those who wait. Are there perhaps more?"""
        cdef int fd
        cdef int one = 1
        cdef int _i
        for _i in range(ACCEPTS_A_TURN):
            fd = accept4(self.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)
            if fd < 0:
                if errno == EAGAIN:
                    return False
                if errno == EINTR or errno == ECONNABORTED:
                    continue
                # out of files or memory: the connection stays in the queue, and trying at once would burn the CPU
                self.poller.counters.slot[W_ACCEPT_FAILURES] += 1
                self.resting = True
                self.poller.work_ahead = True
                self.stop()
                return False
            if self.connections() >= self.max_connections:
                self.refuse(fd)
                continue
            if self.is_tcp:
                setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one))
            self.poller.counters.slot[W_TOTAL_CONNECTIONS] += 1
            try:
                ClientConnection(self.poller, fd, self.routes)
            except OSError:
                self.poller.counters.slot[W_ACCEPT_FAILURES] += 1
                close_fd(fd)
        return True

    cdef int refuse(self, int fd) except -1:
        self.poller.counters.slot[W_REJECTED_CONNECTIONS] += 1
        send(fd, b"SERVER_ERROR too many connections\r\n", 35, MSG_NOSIGNAL)
        close_fd(fd)
        return 0
