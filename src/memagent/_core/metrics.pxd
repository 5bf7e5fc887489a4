"""The slots of the counters in shared memory, as C constants, and a block of them.

The enums are the tables of memagent/counters.py in the same order; a test compares them. Hot code counts
with `block.slot[W_GET_HITS] += 1`: one writer per block, aligned 64-bit slots, so a reader in another process
never sees half a number. (No names on the enums: Cython takes no named enum as an index.)
"""

cimport cython
from libc.stdint cimport uint64_t


cpdef enum:
    W_CURR_CONNECTIONS
    W_TOTAL_CONNECTIONS
    W_REJECTED_CONNECTIONS
    W_ACCEPT_FAILURES
    W_CLIENT_CLOSED
    W_CLIENT_CLOSED_RESET
    W_CLIENT_CLOSED_PROTOCOL
    W_CLIENT_CLOSED_UNREAD
    W_CLIENT_CLOSED_MEMORY
    W_CLIENT_CLOSED_DRAIN
    W_CLIENT_PAUSED
    W_MEMORY_PAUSED
    W_BYTES_READ
    W_BYTES_WRITTEN
    W_REQUESTS
    W_QUIET_REQUESTS
    W_MULTIGETS
    W_FRAGMENTS
    W_BAD_COMMANDS
    W_CLIENT_ERRORS
    W_SERVER_ERRORS
    W_BAD_KEYS
    W_UNROUTED_REQUESTS
    W_LINES_TOO_LONG
    W_STORE_TOO_LARGE
    W_MEMORY_REFUSED
    W_UNKNOWN_OUTCOMES
    W_CMD_GET
    W_CMD_SET
    W_CMD_FLUSH
    W_CMD_TOUCH
    W_CMD_META
    W_GET_HITS
    W_GET_MISSES
    W_DELETE_MISSES
    W_DELETE_HITS
    W_INCR_MISSES
    W_INCR_HITS
    W_DECR_MISSES
    W_DECR_HITS
    W_CAS_MISSES
    W_CAS_HITS
    W_CAS_BADVAL
    W_TOUCH_HITS
    W_TOUCH_MISSES
    W_MISSES_SERVER_DOWN
    W_MISSES_SERVER_FAILED
    W_MISSES_DEADLINE
    W_FAILOVERS
    W_FALLBACKS
    W_FALLBACK_HITS
    W_READS_AGAIN
    W_REPAIRS
    W_REPAIRS_REFUSED
    W_REPAIRS_FAILED
    W_REPAIRS_UNDONE
    W_EFFECTS_FAILED
    W_DIVERGENCES
    W_EXCHANGES
    W_BUFFERED_BYTES
    W_LOOP_TURNS
    W_CONTROL_BAD_PACKETS
    W_RESTARTS
    W_COUNT


cpdef enum:
    S_UP
    S_DOWNS
    S_STATE
    S_OUTAGES
    S_RETURNS
    S_RESTARTS_SEEN
    S_UP_MS
    S_WARMING_MS
    S_RETURNING_MS
    S_DOWN_MS
    S_HELD_MS
    S_PROBES
    S_PROBE_FAILURES
    S_JOURNAL_KEYS
    S_JOURNAL_BYTES
    S_JOURNAL_OVERFLOWS
    S_JOURNAL_PLAYED
    S_REFILLS
    S_FLUSHES_PLAYED
    S_WARM_KEYS
    S_WARM_BYTES
    S_WARM_PER_CENT
    S_CONNECTIONS
    S_CONNECTS
    S_CONNECT_FAILURES
    S_RESETS
    S_GARBAGE_REPLIES
    S_REQUESTS
    S_REPLIES
    S_ERRORS
    S_TIMEOUTS
    S_BUSY_REJECTIONS
    S_DOWN_REJECTIONS
    S_BYTES_SENT
    S_BYTES_RECEIVED
    S_GET_HITS
    S_GET_MISSES
    S_PENDING
    S_IN_FLIGHT
    S_QUEUED_BYTES
    S_COUNT


@cython.final
cdef class Block:
    cdef uint64_t *slot
    cdef readonly Py_ssize_t n_slots
    cdef Py_buffer _view
    cdef bint _held

    cdef int _check(self, Py_ssize_t index) except -1
