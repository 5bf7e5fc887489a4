"""A meta request to one server: its reply is passed on as it is, unless the client's q hides it.

    mg k v q O1 ──▶ server: mg k v O1 ──▶ VA 3 O1 ──▶ client
                                     └──▶ EN O1   ──▶ nobody

Invariants:
- The server always answers, and what q hides ends here: as with noreply, a late reply can never shift those of others.
- Errors are never hidden, as in memcached.
- Meta requests are counted as their classic twins, and by cmd_meta.
"""

cimport cython
from libc.stdint cimport uint32_t

from memagent._core.channel cimport F_BUSY, F_DOWN, Channel, Failure
from memagent._core.exchange cimport Exchange, explain, send
from memagent._core.meta cimport has_flag, key_words, miss_line, with_key
from memagent._core.metrics cimport (
    S_BUSY_REJECTIONS,
    S_DOWN_REJECTIONS,
    S_GET_HITS,
    S_GET_MISSES,
    W_CAS_BADVAL,
    W_CAS_HITS,
    W_CAS_MISSES,
    W_DECR_HITS,
    W_DECR_MISSES,
    W_DELETE_HITS,
    W_DELETE_MISSES,
    W_GET_HITS,
    W_GET_MISSES,
    W_INCR_HITS,
    W_INCR_MISSES,
    W_MISSES_SERVER_DOWN,
    W_MISSES_SERVER_FAILED,
    W_TOUCH_HITS,
    W_TOUCH_MISSES,
    W_UNKNOWN_OUTCOMES,
    Block,
)
from memagent._core.pool cimport Pool
from memagent._core.reply cimport (
    E_BLOCK,
    E_MA,
    E_MD,
    E_ME,
    E_MG,
    E_MS,
    R_EN,
    R_ERROR,
    R_EX,
    R_HD,
    R_NF,
    R_VA,
    Code,
    ReplyParser,
)
from memagent._core.request cimport (
    V_CAS,
    V_DECR,
    V_DELETE,
    V_GAT,
    V_INCR,
    V_MA,
    V_MD,
    V_ME,
    V_MG,
    V_MS,
    V_SET,
    RequestParser,
    Verb,
)
from memagent._core.server cimport Server


cdef int hidden(Verb verb) noexcept:
    """What memcached does not say where there is a q. Of ma, memcached up to 1.6.39 says it where N made the item."""
    if verb == V_MG:
        return 1 << R_EN
    if verb == V_MS or verb == V_MD:
        return 1 << R_HD
    return 1 << R_HD | 1 << R_VA if verb == V_MA else 0


cdef int meta_expects(Verb verb, Server server) noexcept:
    if verb == V_MG:
        return E_MG
    if verb == V_MS:
        # a server that is known to speak meta swallows the data block of what it refuses
        return E_MS if server.meta else E_MS | E_BLOCK
    if verb == V_MD:
        return E_MD
    return E_MA if verb == V_MA else E_ME


cdef Asked asked(RequestParser request, const unsigned char *p):
    """About the meta request at p, which `request` has just read."""
    cdef Asked self = Asked.__new__(Asked)
    cdef bint conditional = has_flag(&request.meta, 67)  # C
    self.verb = request.verb
    self.twin = request.twin
    if request.meta.quiet:
        self.hidden = hidden(request.verb)
    self.harmless = (
        request.verb == V_MG or request.verb == V_ME or request.twin == V_SET
        or (request.verb == V_MD and not conditional)
    )
    if request.verb == V_MG:
        self.miss = miss_line(&request.meta, p, request.keys[0])
    elif request.verb == V_ME:
        self.miss = b"EN\r\n"
    if request.meta.returns_key:
        self.key_words = key_words(&request.meta, p, request.keys[0])
    return self


cdef inline void tally(Block counters, bint hit, bint miss, int hits, int misses) noexcept:
    if hit:
        counters.slot[hits] += 1
    elif miss:
        counters.slot[misses] += 1


@cython.final
cdef class Asked:
    cdef bint hides(self, Code code) noexcept:
        return self.hidden >> <int> code & 1

    cdef int count(self, Exchange exchange, Server server, Code code) except -1:
        """Count what a server answered."""
        cdef Block counters = exchange.counters
        cdef bint hit = code == R_HD or code == R_VA
        if self.verb == V_MG:
            tally(counters, hit, code == R_EN, W_GET_HITS, W_GET_MISSES)
            tally(server.counters, hit, code == R_EN, S_GET_HITS, S_GET_MISSES)
            if self.twin == V_GAT:
                tally(counters, hit, code == R_EN, W_TOUCH_HITS, W_TOUCH_MISSES)
        elif self.twin == V_DELETE:
            tally(counters, hit, code == R_NF, W_DELETE_HITS, W_DELETE_MISSES)
        elif self.twin == V_INCR:
            tally(counters, hit, code == R_NF, W_INCR_HITS, W_INCR_MISSES)
        elif self.twin == V_DECR:
            tally(counters, hit, code == R_NF, W_DECR_HITS, W_DECR_MISSES)
        elif self.twin == V_CAS:
            tally(counters, hit, code == R_NF, W_CAS_HITS, W_CAS_MISSES)
            counters.slot[W_CAS_BADVAL] += code == R_EX
        return 0


@cython.final
cdef class MetaSingle(Exchange):
    """A meta request about one key, in a pool without copies."""

    cdef int start(self, Pool pool, RequestParser request, const unsigned char *p) except -1:
        cdef size_t length = 0
        cdef const unsigned char *key = request.stored_key(p, &length)
        cdef Server server = pool.owner(key, length)
        cdef Channel channel
        self.pool = pool
        self.server = server
        self.asked = asked(request, p)
        if not server.up:
            server.counters.slot[S_DOWN_REJECTIONS] += 1
            return self.failed(0, F_DOWN, False)
        channel = server.channel(key, length)
        if not server.has_room(channel):
            server.counters.slot[S_BUSY_REJECTIONS] += 1
            return self.failed(0, F_BUSY, False)
        return send(channel, self, 0, meta_expects(self.verb, server), server, request, p)

    cdef int replied(self, uint32_t part, Code code, const unsigned char *p, size_t n, ReplyParser parser) except -1:
        cdef bytes reply
        self.asked.count(self, self.server, code)
        self.quiet |= self.asked.hides(code)
        if self.asked.key_words is None or code >= R_ERROR:
            self.settle(p, n)
        else:
            reply = with_key(p, n, self.asked.key_words)
            self.settle(reply, len(reply))
        return 0

    cdef int failed(self, uint32_t part, Failure why, bint sent) except -1:
        """As its classic twin: a mg is a miss unless the pool says otherwise, anything else an error."""
        cdef Asked asked = self.asked
        if why == F_BUSY:
            return self.settle_text("SERVER_ERROR server busy")
        if asked.miss is not None and self.pool.miss_when_down:
            if self.verb == V_MG:
                self.counters.slot[W_GET_MISSES] += 1
                self.counters.slot[W_MISSES_SERVER_DOWN if why == F_DOWN else W_MISSES_SERVER_FAILED] += 1
            self.quiet |= asked.hides(R_EN)
            return self.settle(asked.miss, len(asked.miss))
        if sent and not asked.harmless:
            self.counters.slot[W_UNKNOWN_OUTCOMES] += 1
            return self.settle_text(f"SERVER_ERROR unknown outcome: {explain(self.server, why)}")
        return self.settle_text(f"SERVER_ERROR {explain(self.server, why)}")
