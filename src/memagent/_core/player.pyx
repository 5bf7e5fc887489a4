"""What a server missed is played to it when it answers again: a delete for each key, or a flush_all, twice.

    journal ── take ──▶ delete, on the key's own channel ──▶ answered: gone from the journal, `played`
       ▲                                                          │
       └── rewind ◀──────────── stop: no answer will come ◀───────┘

Invariants (behaviour section 3):
- An entry leaves the journal only when its delete was answered; what is missed meanwhile is played too.
- A delete goes the way of its key, so whatever is written to the key afterwards stays behind it.
- No more than WINDOW deletes wait for an answer.

Why twice: from 1.6.25 on memcached's flush_all goes by the second in which an item was used last. It may spare items
that were used in the second before it: notes of reads are worked off up to a second later, and make such an item
look new. The second one comes when all that has been done; nobody has read or written there meanwhile.
"""

cimport cython
from libc.stdint cimport uint32_t

from memagent._core.channel cimport Awaiting, Channel, Failure, way
from memagent._core.journal cimport Journal
from memagent._core.metrics cimport S_FLUSHES_PLAYED, S_JOURNAL_PLAYED, Block
from memagent._core.names cimport base64_of, is_text
from memagent._core.reply cimport E_DELETE, E_MD, E_OK, R_DELETED, R_HD, R_NF, R_NOT_FOUND, R_OK, Code, ReplyParser
from memagent._core.turn cimport Turn

cdef enum:
    WINDOW = 256
    FLUSH_PART = 0xffffffff
    AGAIN_US = 1500000  # a second for the server's notes of reads, and time for its clock to tick once more


@cython.final
cdef class Player(Awaiting):
    """Limits of what is `played`, and `timeout_us`, are set by `Server.configure`."""

    def __cinit__(self, Journal journal not None, list channels not None, Block counters not None, Turn turn not None):
        self.journal = journal
        self.channels = channels
        self.counters = counters
        self.turn = turn
        self.out = {}
        self.played = Journal()

    cdef int flush(self) except -1:
        """In place of all the keys: whatever is missed from here on is in the journal anew."""
        self.flushing = True
        self.flushed = False
        self.flush_again = True
        self.flush_at_us = 0
        return self.send_flush_all()

    cdef int flush_more(self) except -1:
        """To be called now and then while `flushing`."""
        if self.flush_at_us and self.turn.now_us >= self.flush_at_us:
            self.flush_at_us = 0
            return self.send_flush_all()
        return 0

    cdef int send_flush_all(self) except -1:
        cdef Channel channel = <Channel> self.channels[0]
        channel.append(b"flush_all\r\n", 11)
        channel.ticket(self, FLUSH_PART, E_OK, self.turn.now_us + self.timeout_us)
        return 0

    cdef int play(self) except -1:
        """Send deletes as far as the window allows."""
        cdef Channel channel
        cdef const unsigned char *key
        cdef size_t length
        while len(self.out) < WINDOW and self.trouble is None:
            key = self.journal.take(&length)
            if key == NULL:
                return 0
            channel = way(self.channels, key, length)
            self.part = (self.part + 1) % FLUSH_PART
            self.out[self.part] = key[:length]
            if is_text(key, length):
                channel.append(b"delete ", 7)
                channel.append(key, length)
                channel.append(b"\r\n", 2)
                channel.ticket(self, self.part, E_DELETE, self.turn.now_us + self.timeout_us)
            else:
                line = b"md %b b\r\n" % base64_of(key, length)
                channel.append(line, len(line))
                channel.ticket(self, self.part, E_MD, self.turn.now_us + self.timeout_us)
        return 0

    cdef bytes next_played(self):
        """A key that is deleted there and has not been handed out here yet; None if there is none."""
        cdef size_t length
        cdef const unsigned char *p = self.played.take(&length)
        if p == NULL:
            return None
        key = p[:length]
        self.played.remove(key, length)
        return key

    cdef bint is_done(self) noexcept:
        return self.journal.count == 0 and not self.flushing

    cdef int stop(self) except -1:
        """No answer will come to what is on its way: it is to be played again."""
        self.out.clear()
        self.played.clear()
        self.flushing = self.flushed = False
        self.flush_at_us = 0
        self.trouble = None
        self.journal.rewind()
        return 0

    cdef int replied(self, uint32_t part, Code code, const unsigned char *p, size_t n, ReplyParser parser) except -1:
        cdef bytes key
        if part == FLUSH_PART:
            if self.flushing and code == R_OK:
                self.counters.slot[S_FLUSHES_PLAYED] += 1
                if self.flush_again:
                    self.flush_again = False
                    self.flush_at_us = self.turn.now_us + AGAIN_US
                    return 0
                self.flushed = True
            elif self.flushing:
                self.trouble = self.refusal("flush_all", p, n)
            self.flushing = False
            return 0
        key = self.out.pop(part, None)
        if key is None:
            return 0
        if code != R_DELETED and code != R_NOT_FOUND and code != R_HD and code != R_NF:
            self.trouble = self.refusal("delete", p, n)
            return 0
        self.counters.slot[S_JOURNAL_PLAYED] += 1
        if self.journal.remove(key, len(key)):
            self.played.add(key, len(key))
        return self.play()

    cdef str refusal(self, str verb, const unsigned char *p, size_t n):
        return f"it refused {verb}: {p[:n].decode('utf-8', 'replace').strip()}"

    cdef int failed(self, uint32_t part, Failure why, bint sent) except -1:
        if part == FLUSH_PART or part in self.out:
            self.trouble = "its connection was lost while it was told what it had missed"
        return 0

    # The Python face, for tests.

    def send(self):
        """Send deletes as far as the window allows."""
        self.play()

    def send_flush(self):
        self.flush()

    def send_more(self):
        self.flush_more()

    def give_up(self):
        self.stop()

    def take_played(self):
        return self.next_played()

    def __len__(self):
        """Deletes that wait for an answer."""
        return len(self.out)
