# cython: cdivision=True
"""Replies: cut out of the bytes of one connection, matched with the request that they answer, checked.

    bytes ─▶ line ──┬─ VALUE key flags bytes [cas] ─▶ body, compared as it arrives ─▶ next line
                    └─ END, STORED, 12, ERROR ...  ─▶ the oldest request in flight is settled

Invariants: a reply always belongs to the oldest request in flight; a VALUE must name a key that this
request asked for and that has not been answered yet, and carry that key's own bytes. A wrong key or wrong
bytes count as a mismatch; framing that cannot be followed ends the connection, because nothing after it can
be trusted.
"""

cimport cython
from libc.stdlib cimport calloc, free
from libc.string cimport memchr, memcmp, memcpy, memset

from memagent._bench.workload cimport GETS, INCR, SET

from memagent._bench.workload import VERBS as _VERBS

cdef enum:
    FOUND = 0x80000000                  # marks an asked key whose VALUE has come


cdef inline bint starts(const uint8_t *line, size_t length, const char *word, size_t size) noexcept nogil:
    return length >= size and memcmp(line, word, size) == 0


cdef inline bint is_word(const uint8_t *line, size_t length, const char *word, size_t size) noexcept nogil:
    return length == size and memcmp(line, word, size) == 0


@cython.final
cdef class Checker:
    def __cinit__(self, Workload workload, uint32_t ring):
        self.workload = workload
        self.latency = Histogram()
        self.ring = ring

    cdef int64_t consume(
        self, Client *client, const uint8_t *data, size_t length, int64_t now_ns
    ) noexcept nogil:
        """How many bytes of `data` are done with; -1: framing lost."""
        cdef size_t at = 0, line_bytes
        cdef uint32_t chunk
        cdef const uint8_t *end
        cdef Flight *flight
        while at < length:
            if client.in_body:
                if client.body_at < client.body_bytes:
                    chunk = <uint32_t>min(<size_t>(client.body_bytes - client.body_at), length - at)
                    if client.body_key >= 0 and memcmp(
                        data + at, self.workload.value(<uint32_t>client.body_key) + client.body_at, chunk
                    ) != 0:
                        self.mismatch(data + at, chunk)
                        client.body_key = -1
                    client.body_at += chunk
                    at += chunk
                if client.body_at < client.body_bytes or length - at < 2:
                    return <int64_t>at
                if data[at] != 13 or data[at + 1] != 10:
                    self.mismatch(data + at, length - at)
                    return -1
                client.in_body = False
                at += 2
                continue
            end = <const uint8_t *>memchr(data + at, 10, length - at)
            if end == NULL:
                if length - at >= STASH_BYTES:
                    self.mismatch(data + at, length - at)
                    return -1
                return <int64_t>at
            line_bytes = end - (data + at)
            if client.count == 0 or line_bytes == 0 or end[-1] != 13:
                self.mismatch(data + at, line_bytes)
                return -1
            line_bytes -= 1
            flight = &client.flights[client.head]
            if flight.verb <= GETS and starts(data + at, line_bytes, "VALUE ", 6):
                if self.start_value(client, flight, data + at, line_bytes) < 0:
                    return -1
            elif self.finish_line(flight, data + at, line_bytes):
                self.settle(client, now_ns)
            else:
                return -1
            at += line_bytes + 2
        return <int64_t>at

    cdef int start_value(
        self, Client *client, Flight *flight, const uint8_t *line, size_t length
    ) noexcept nogil:
        """Reads a VALUE line and prepares for its body; -1: it is no VALUE line that can be followed."""
        cdef size_t at = 6, key_bytes
        cdef uint64_t size = 0
        cdef uint32_t _tried, place, width = self.workload.width
        cdef uint32_t *asked = client.asked + client.head * width
        cdef int64_t key
        cdef int fields = 0
        while at < length and line[at] != c' ':
            at += 1
        key_bytes = at - 6
        while fields < 2 and at < length and line[at] == c' ':
            at += 1
            fields += 1
            size = 0
            while at < length and 48 <= line[at] <= 57 and size <= 0x7FFFFFFF:
                size = size * 10 + line[at] - 48
                at += 1
        if fields < 2 or size > 0x7FFFFFFF or (line[at] != c' ' if flight.verb == GETS else at != length):
            self.mismatch(line, length)
            return -1
        client.in_body = True
        client.body_bytes = <uint32_t>size
        client.body_at = 0
        client.body_key = -1
        flight.found += 1
        key = self.workload.key_of(line + 6, key_bytes)
        if key >= 0:
            # A proxy may group the keys by server: the next one stands a few places on, hardly ever before.
            place = flight.near
            for _tried in range(width):
                if asked[place] == <uint32_t>key:
                    asked[place] |= FOUND
                    flight.near = place + 1 if place + 1 < width else 0
                    if size == self.workload.value_bytes(<uint32_t>key):
                        client.body_key = key
                        return 0
                    break
                place += 1
                if place == width:
                    place = 0
        self.mismatch(line, length)
        return 0

    cdef bint finish_line(self, Flight *flight, const uint8_t *line, size_t length) noexcept nogil:
        """Counts what the last line of a reply says; False: no reply to this verb."""
        cdef bint counted = flight.purpose == COUNTED
        cdef Tally *tally = &self.tally
        cdef size_t i
        if flight.verb <= GETS and is_word(line, length, "END", 3):
            if counted:
                tally.hits += flight.found
                tally.misses += self.workload.width - min(flight.found, self.workload.width)
            return True
        if is_word(line, length, "STORED", 6) and flight.verb == SET:
            if flight.purpose == PRELOADING:
                self.preload_stored += 1
            tally.stored += counted
            return True
        if is_word(line, length, "NOT_STORED", 10) and flight.verb == SET:
            tally.not_stored += counted
            return True
        if flight.verb > SET:
            if is_word(line, length, "NOT_FOUND", 9):
                tally.misses += counted
                return True
            if is_word(line, length, "DELETED", 7) or is_word(line, length, "TOUCHED", 7):
                tally.hits += counted
                return True
            if flight.verb == INCR and length and 48 <= line[0] <= 57:
                for i in range(length):
                    if not (48 <= line[i] <= 57 or line[i] == c' '):
                        break
                else:
                    tally.hits += counted
                    return True
        if is_word(line, length, "ERROR", 5):
            tally.errors += counted
        elif starts(line, length, "CLIENT_ERROR", 12):
            tally.client_errors += counted
        elif starts(line, length, "SERVER_ERROR", 12):
            tally.server_errors += counted
        else:
            self.mismatch(line, length)
            return False
        if self.error_sample_bytes == 0:
            self.error_sample_bytes = <uint32_t>min(length, <size_t>ERROR_SAMPLE_BYTES)
            memcpy(self.error_sample, line, self.error_sample_bytes)
        return True

    cdef void settle(self, Client *client, int64_t now_ns) noexcept nogil:
        cdef Flight *flight = &client.flights[client.head]
        if flight.purpose == COUNTED:
            self.latency.add(now_ns - flight.intended_ns)
            self.tally.requests += 1
            self.tally.by_verb[flight.verb] += 1
            self.tally.keys_asked += self.workload.width if flight.verb <= GETS else 1
            self.last_counted_ns = now_ns
        self.answered += 1
        self.in_flight -= 1
        client.count -= 1
        client.head += 1
        if client.head == self.ring:
            client.head = 0

    cdef void mismatch(self, const uint8_t *line, size_t length) noexcept nogil:
        self.tally.mismatches += 1
        if self.mismatch_sample_bytes == 0:
            self.mismatch_sample_bytes = <uint32_t>min(length, <size_t>ERROR_SAMPLE_BYTES)
            memcpy(self.mismatch_sample, line, self.mismatch_sample_bytes)

    def replay(self, requests, pieces):
        """The replies of one connection, `pieces` as they arrive, to `requests` of (verb, keys); False: lost.

        The reader without a socket: what it counted is in `counts`, what it left in `unanswered`.
        """
        cdef Client client
        cdef uint32_t place, i
        cdef int64_t used
        cdef const uint8_t *data
        assert len(requests) <= self.ring
        memset(&client, 0, sizeof(client))
        client.flights = <Flight *>calloc(self.ring, sizeof(Flight))
        client.asked = <uint32_t *>calloc(<size_t>self.ring * self.workload.width, sizeof(uint32_t))
        try:
            if client.flights == NULL or client.asked == NULL:
                raise MemoryError
            for place, (verb, keys) in enumerate(requests):
                assert len(keys) <= self.workload.width
                client.flights[place].verb = _VERBS.index(verb)
                client.flights[place].purpose = COUNTED
                for i, key in enumerate(keys):
                    client.asked[place * self.workload.width + i] = key
            client.count = len(requests)
            self.in_flight += client.count
            kept = b""
            for piece in pieces:
                whole = kept + bytes(piece)
                data = <const uint8_t *><const char *>whole
                used = self.consume(&client, data, len(whole), 0)
                if used < 0:
                    return False
                kept = whole[used:]
            return True
        finally:
            self.in_flight -= client.count
            self.unanswered = client.count
            free(client.flights)
            free(client.asked)

    def counts(self):
        tally = self.tally
        by_verb = {verb: tally.by_verb[i] for i, verb in enumerate(_VERBS)}
        return {
            "requests": tally.requests,
            "by_verb": {verb: n for verb, n in by_verb.items() if n},
            "keys_asked": tally.keys_asked,
            "hits": tally.hits,
            "misses": tally.misses,
            "stored": tally.stored,
            "not_stored": tally.not_stored,
            "errors": {
                "ERROR": tally.errors,
                "CLIENT_ERROR": tally.client_errors,
                "SERVER_ERROR": tally.server_errors,
                "mismatches": tally.mismatches,
                "timeouts": tally.timeouts,
                "connections_lost": tally.connections_lost,
                "lost_requests": tally.lost_requests,
            },
            "error_sample": (<char *>self.error_sample)[:self.error_sample_bytes].decode("latin-1"),
            "mismatch_sample": (<char *>self.mismatch_sample)[:self.mismatch_sample_bytes].decode("latin-1"),
            "bytes_in": tally.bytes_in,
            "bytes_out": tally.bytes_out,
        }

    def clear(self):
        """Forget what was counted: a new measurement begins. Requests in flight stay what they were."""
        memset(&self.tally, 0, sizeof(self.tally))
        self.latency.clear()
        self.last_counted_ns = 0
        self.error_sample_bytes = 0
        self.mismatch_sample_bytes = 0
