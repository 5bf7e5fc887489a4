"""One turn of the event loop: its time, and who has bytes to send at its end.

Everything that arrives in one turn is decided first; then each server and each client gets all its bytes in one write.
Whoever has something to send stands in a list here, once.
"""

cimport cython


@cython.final
cdef class Turn:
    def __cinit__(self):
        self.channels = []
        self.sessions = []
        self.servers = []
