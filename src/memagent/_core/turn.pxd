"""One turn of the event loop: its time, and who has bytes to send at its end."""

from libc.stdint cimport int64_t


cdef class Turn:
    cdef public int64_t now_us     # monotonic; set once a turn by whoever has a clock
    cdef readonly size_t in_flight  # requests at servers, sent or about to be
    cdef readonly list channels    # Channels with bytes to send
    cdef readonly list sessions    # Sessions with bytes to send, or ready to read on
    cdef readonly list servers     # Servers that went down in the middle of something: their connections are to end
