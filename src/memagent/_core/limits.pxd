"""Bounds of the protocol (memcached's protocol.txt) and of our own buffers, behaviour section 5."""

cdef enum:
    MAX_KEY_BYTES = 250
    MAX_LINE_BYTES = 4096              # any request line but get and gets
    MAX_GET_LINE_BYTES = 1024 * 1024   # get and gets
    MAX_REPLY_LINE_BYTES = 4096        # what we take as one line from a server
    MAX_REPLY_BYTES = 128 * 1024 * 1024  # one reply: more than a client may leave unread

    # One line of a multiget to one server. memcached's read buffer holds 16 KiB: a longer line makes it change buffers.
    GET_LINE_BYTES = 8 * 1024
    # memcached lets only "get " and "gets " lines exceed 2048 bytes; a longer gat line closes the connection.
    GAT_LINE_BYTES = 1900

    BLOCK_BYTES = 16 * 1024            # first allocation of a buffer; blocks are recycled
    BLOCKS_KEPT = 256                  # free blocks kept for reuse: 4 MiB a worker

    # Requests of one client under way at once. The window opens while replies stay small, so that a client which
    # pipelines gets of large values cannot make the proxy hold all of them.
    WINDOW_START = 32
    WINDOW_MAX = 1024
    WINDOW_SMALL_BYTES = 256 * 1024    # a batch whose replies are smaller doubles the window
    WINDOW_LARGE_BYTES = 8 * 1024 * 1024  # a batch whose replies are larger halves it
