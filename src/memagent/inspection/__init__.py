"""Looking at memcached servers from outside, for people: what is where, and do copies agree?

    client ─▶ listing ─▶ verify        a sample of keys, compared on owner and copy
       └────────────────▶ explain      one key

Everything here asks servers directly, past the proxy and in plain Python: a question at a time, every wait
bounded, nothing written, and no item touched where the server's version lets one look without touching. One
that is marked stale always is: no request that shows a value leaves the win (W) to the next client.
Values are read, hashed and forgotten; nothing here can print one.
"""
