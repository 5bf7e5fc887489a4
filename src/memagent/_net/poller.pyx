"""epoll, and who owns which file descriptor.

Invariants:
- Connections are watched edge-triggered for both directions, once, when they are opened: no epoll_ctl while they live.
  Whoever stops reading before the socket is empty must remember that.
- The clock is read once a turn, when the events have come.
- A handler that another one closes in the same turn gets no event any more, and neither does who gets its descriptor.
"""

cimport cython
from cpython.exc cimport PyErr_CheckSignals
from cpython.ref cimport Py_DECREF, Py_INCREF, PyObject
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memset

from memagent._core.metrics cimport W_LOOP_TURNS, Block
from memagent._core.session cimport Context
from memagent._net.posix cimport (
    EINTR,
    EPOLL_CLOEXEC,
    EPOLL_CTL_ADD,
    EPOLL_CTL_DEL,
    EPOLLIN,
    close,
    epoll_create1,
    epoll_ctl,
    epoll_event,
    epoll_wait,
    errno,
    monotonic_us,
)


cdef class Handler:
    cdef int ready(self, uint32_t events) except -1:
        raise NotImplementedError


@cython.final
cdef class Callback(Handler):
    """A plain Python function that is called when `fd` is readable. Level-triggered."""

    def __init__(self, int fd, object function not None):
        self.fd = fd
        self.function = function

    cdef int ready(self, uint32_t events) except -1:
        self.function()
        return 0


@cython.final
cdef class Poller:
    def __cinit__(self, Context context not None, Block counters not None):
        self.context = context
        self.counters = counters
        self.clients = set()
        self.lingering = []
        self.unread = []
        self.epoll_fd = epoll_create1(EPOLL_CLOEXEC)
        if self.epoll_fd < 0:
            raise OSError(errno, "epoll_create1")
        self.capacity = 1024
        self.handlers = <PyObject **> calloc(self.capacity, sizeof(PyObject *))
        self.scratch = <unsigned char *> malloc(SCRATCH_BYTES)
        if self.handlers == NULL or self.scratch == NULL:
            raise MemoryError
        context.turn.now_us = monotonic_us()

    def __dealloc__(self):
        cdef int fd
        if self.epoll_fd >= 0:
            close(self.epoll_fd)
        if self.handlers != NULL:
            for fd in range(self.capacity):
                if self.handlers[fd] != NULL:
                    Py_DECREF(<object> self.handlers[fd])
            free(self.handlers)
        free(self.scratch)

    cdef int watch(self, Handler handler, uint32_t events) except -1:
        cdef epoll_event event
        cdef int capacity = self.capacity
        cdef PyObject **handlers
        if handler.fd >= capacity:
            while handler.fd >= capacity:
                capacity *= 2
            handlers = <PyObject **> realloc(self.handlers, capacity * sizeof(PyObject *))
            if handlers == NULL:
                raise MemoryError
            memset(handlers + self.capacity, 0, (capacity - self.capacity) * sizeof(PyObject *))
            self.handlers = handlers
            self.capacity = capacity
        event.events = events
        self.generation += 1
        handler.generation = self.generation
        event.data.u64 = <uint64_t> handler.generation << 32 | <uint32_t> handler.fd
        if epoll_ctl(self.epoll_fd, EPOLL_CTL_ADD, handler.fd, &event) < 0:
            raise OSError(errno, "epoll_ctl")
        Py_INCREF(handler)
        self.handlers[handler.fd] = <PyObject *> handler
        return 0

    cdef int forget(self, Handler handler) except -1:
        cdef epoll_event event
        if handler.fd >= 0 and self.handlers[handler.fd] == <PyObject *> handler:
            epoll_ctl(self.epoll_fd, EPOLL_CTL_DEL, handler.fd, &event)
            self.handlers[handler.fd] = NULL
            Py_DECREF(handler)
        return 0

    def watch_readable(self, int fd, function, bint late=False):
        """Call `function` whenever fd is readable, after all others if it is `late`. Returns what `unwatch` takes."""
        cdef Callback callback = Callback(fd, function)
        callback.is_late = late
        self.watch(callback, EPOLLIN)
        return callback

    def unwatch(self, Handler callback not None):
        self.forget(callback)

    cdef int wait(self, int timeout_ms) except -1:
        """Wait for events and hand each to its handler. Returns how many there were."""
        cdef epoll_event events[EVENTS]
        cdef PyObject *handler
        cdef object keep
        cdef list late = None
        cdef int i
        cdef int n = epoll_wait(self.epoll_fd, events, EVENTS, timeout_ms)
        if n < 0:
            if errno != EINTR:
                raise OSError(errno, "epoll_wait")
            PyErr_CheckSignals()
            n = 0
        self.context.turn.now_us = monotonic_us()
        self.counters.slot[W_LOOP_TURNS] += 1
        for i in range(n):
            handler = self.handlers[<uint32_t> events[i].data.u64]
            if handler != NULL and (<Handler> handler).generation == <uint32_t> (events[i].data.u64 >> 32):
                keep = <object> handler
                if (<Handler> keep).is_late:
                    if late is None:
                        late = []
                    late.append(keep)
                else:
                    (<Handler> keep).ready(events[i].events)
        if late is not None:
            # clients that have hung up have made room for new ones by now, and replies have come before their time is over
            for keep in late:
                if (<Handler> keep).fd >= 0:
                    (<Handler> keep).ready(EPOLLIN)
        return n
