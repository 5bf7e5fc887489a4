"""All keys of a pool, counted from what its servers list: a process that the supervisor starts for the page.

    Job ─▶ __main__ ─▶ reading: server after server ─▶ dump ─▶ lines ─┬─▶ distribution ─▶ result
                          │                                           └─▶ browse ────────▶ result
                          └─▶ progress

    job            what it is told, and what it says
    dump           a server's list of keys, in pieces, faster than line by line
    reading        all servers that have something to say, one after the other
    sample         some keys, the same ones at every server
    distribution   how keys and bytes spread, and which keys have no copy
    chance         how unevenly a ring may spread them
    browse         keys by prefix or pattern, and what lies under each prefix

- Every key is read and few are kept: memory is bounded however many there are.
- Servers only list keys; no value is ever shown, and nothing is written.
- A server counts whole or not at all: what it listed before it failed is forgotten.
"""
