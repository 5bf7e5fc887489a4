"""A request that is not for one pool as it is: a share for each pool, put together again.

    get a u:1 b s:2         route "":    get a b      exchange ─▶ VALUE a .. END
                     ──▶    route "u:":  get u:1      exchange ─▶ END                   ──▶  VALUE a, VALUE s:2, END
                            route "s:":  get 2        exchange ─▶ VALUE 2 .. END
                            (strip)

Several keys of several pools, a key whose route strips its prefix, flush_all of several pools. A share is an ordinary
exchange of its pool, which knows nothing of routes: its keys are those that the servers know.

Invariants:
- Nothing is asked before every key has its route: a request with a key that no route takes is refused as a whole, as
  one with a bad key is.
- A reply is the client's: its keys in its order, with their prefixes. Items are taken as the shares bring them, so what
  holds for the multigets of one pool holds here; an error of one pool is a miss where another one has answered.
- flush_all says OK when every pool has said OK.
- A share's time is counted to its pool, the whole to nobody.
"""

cimport cython
from libc.stdint cimport INT64_MAX, int64_t, uint32_t
from libc.string cimport memchr, memcmp

from memagent._core.buffer cimport Buffer
from memagent._core.exchange cimport Broadcast, Exchange, Waiting
from memagent._core.latency cimport NOT_TIMED, Histograms
from memagent._core.meta cimport encode_base64, has_flag, key_words, with_key
from memagent._core.metrics cimport W_BAD_KEYS, W_CLIENT_ERRORS, W_UNROUTED_REQUESTS
from memagent._core.multiget cimport MultiGet
from memagent._core.mutation cimport Mutation
from memagent._core.pool cimport Pool
from memagent._core.request cimport (
    P_REQUEST,
    V_FLUSH_ALL,
    V_GAT,
    V_GATS,
    V_ME,
    V_MG,
    V_MS,
    RequestParser,
    Verb,
    verb_name,
)
from memagent._core.retrieval cimport Retrieval
from memagent._core.routes cimport Route

cdef bytes NO_ROUTE = b"CLIENT_ERROR no route for this key\r\n"
cdef bytes NO_KEY = b"CLIENT_ERROR bad key\r\n"   # nothing but the prefix that its route strips


cdef Exchange exchange_of(Verb verb, bint is_multiget):
    if is_multiget:
        return MultiGet.__new__(MultiGet)
    if verb == V_FLUSH_ALL:
        return Broadcast.__new__(Broadcast)
    if verb <= V_GATS or verb == V_MG or verb == V_ME:
        return Retrieval.__new__(Retrieval)
    return Mutation.__new__(Mutation)


cdef Share share_of(Pool pool, bytes prefix):
    cdef Share share = Share.__new__(Share)
    share.pool = pool
    share.prefix = prefix
    share.keys = []
    return share


cdef bytes stripped(RequestParser request, const unsigned char *p, size_t cut):
    """The request of one key at p as the pool is to get it."""
    cdef size_t start = request.keys[0].start
    cdef list words
    cdef int fixed = 3 if request.verb == V_MS else 2
    if request.verb < V_MG:
        return p[:start] + p[start + cut:request.used]
    # k is answered by us: the servers know another key
    words = [word for word in p[request.body_start:request.line_length].split(b" ") if word]
    words = words[:fixed] + [word for word in words[fixed:] if word[:1] != b"k"]
    if request.meta.binary:
        words[1] = encode_base64(request.meta.key + cut, request.meta.key_length - cut)
    else:
        words[1] = words[1][cut:]
    return b" ".join(words) + b"\r\n" + p[request.value_start:request.used if request.value_start else 0]


@cython.final
cdef class Share(Waiting):
    cdef int settled(self, Exchange exchange, const unsigned char *p, size_t n) except -1:
        cdef Gathering whole = self.whole
        cdef Histograms latencies = self.pool.latencies
        cdef int64_t took_us = self.pool.timers.turn.now_us - exchange.started_us
        if latencies is not None and exchange.timed_as != NOT_TIMED:
            latencies.add(exchange.timed_as, took_us)
        if took_us >= whole.observer.least_us:
            whole.observer.saw(exchange, None if whole.waiting is None else whole.connection, p, n)
        exchange.keep(p, n)
        self.whole = None
        return whole.share_done()

    cdef int hold_back(self) except -1:
        if self.whole.waiting is not None:
            self.whole.waiting.hold_back()
        return 0

    cdef bint is_refused(self) noexcept:
        """Is the reply to a retrieval an error line?"""
        cdef Exchange exchange = self.exchange
        return exchange.reply_length < 5 or (
            memcmp(exchange.reply, b"VALUE", 5) != 0 and memcmp(exchange.reply, b"END\r\n", 5) != 0
        )

    cdef int take_item(self, bytes key, Buffer reply) except -1:
        """Put the next item behind the reply if it is that of this key."""
        cdef const unsigned char *p = self.exchange.reply + self.at
        cdef size_t left = self.exchange.reply_length - self.at
        cdef size_t n = 6 + len(key)
        cdef const unsigned char *end
        if left < n + 1 or memcmp(p, b"VALUE ", 6) != 0 or memcmp(p + 6, <const char *> key, n - 6) != 0 or p[n] != 32:
            return 0
        end = <const unsigned char *> memchr(p, 13, left)
        n = end - p + 4 + <size_t> int((<bytes> p[n + 1:end - p]).split(b" ")[1])
        reply.append(b"VALUE ", 6)
        reply.append(self.prefix, len(self.prefix))
        reply.append(p + 6, n - 6)
        self.at += n
        return 0

    cdef bytes shown(self):
        """The reply with the client's key; None if that is as it is. An error line is never touched."""
        cdef bytes line = self.exchange.reply[:self.exchange.reply_length]
        if self.asked_key is None or line[2:3] not in b" \r":
            return None
        if self.exchange.verb == V_ME:
            return b"ME" + self.asked_key + line[line.index(b" exp="):] if line.startswith(b"ME ") else None
        return with_key(line, len(line), self.asked_key)


@cython.final
cdef class Gathering(Exchange):
    """What is not of an exchange is set before `start`, whose pool is None."""

    cdef int start(self, Pool pool, RequestParser request, const unsigned char *p) except -1:
        cdef bint is_multiget = request.verb <= V_GATS and request.n_keys > 1
        cdef size_t used = request.used
        cdef int64_t deadline_us = 0
        cdef const unsigned char *text
        cdef Share share
        if not self.split(request, p):
            return 0
        if is_multiget:
            deadline_us = min([(<Share> each).pool.multiget_deadline_us or INT64_MAX for each in self.shares])
        self.outstanding = len(self.shares) + 1
        for share in self.shares:
            share.whole = self
            share.exchange = exchange_of(self.verb, is_multiget)
            text = p
            if share.text is not None:
                text = share.text
                if request.next(text, len(share.text), 0) != P_REQUEST:
                    raise AssertionError("a share of a request is none")
            share.exchange.begin(share, self.counters, self.memory, self.verb, self.quiet, self.started_us)
            share.exchange.timed_as = self.shares_timed_as
            if is_multiget and deadline_us != INT64_MAX:
                share.pool.timers.due(share.exchange, self.started_us + deadline_us)
            share.exchange.start(share.pool, request, text)
            self.observer.ahead -= len(share.keys)
            if self.observer.ahead <= 0:
                self.observer.sample(share.exchange)
            share.text = None
        request.used = used
        return self.share_done()

    cdef bint split(self, RequestParser request, const unsigned char *p) except -1:
        """Who is to be asked for what. False: nobody, and that is answered."""
        cdef const unsigned char *key
        cdef size_t length = 0
        cdef size_t cut
        cdef dict by_route = {}
        cdef Route route
        cdef Share share
        cdef bytes start
        cdef uint32_t i
        if self.verb == V_FLUSH_ALL:
            self.shares = [share_of(each, b"") for each in self.routes.pools]
            return True if self.shares else self.refuse(NO_ROUTE, W_UNROUTED_REQUESTS)
        self.order = []
        for i in range(request.n_keys):
            key = p + request.keys[i].start
            length = request.keys[i].length
            if self.verb > V_GATS:
                key = request.stored_key(p, &length)
            route = self.routes.find(key, length)
            if route is None:
                return self.refuse(NO_ROUTE, W_UNROUTED_REQUESTS)
            cut = len(route.prefix) if route.strip else 0
            if cut == length:
                return self.refuse(NO_KEY, W_BAD_KEYS)
            share = by_route.get(route)
            if share is None:
                share = by_route[route] = share_of(route.pool, route.prefix if route.strip else b"")
            share.keys.append(key[cut:length])
            self.order.append(share)
        self.shares = list(by_route.values())
        if self.verb <= V_GATS:
            start = verb_name(self.verb)
            if self.verb >= V_GAT:
                start += b" " + p[request.argument.start:request.argument.start + request.argument.length]
            for share in self.shares:
                share.text = b" ".join([start] + share.keys) + b"\r\n"
            return True
        share.text = stripped(request, p, len(share.prefix))
        if self.verb == V_ME:
            share.asked_key = b" " + p[request.keys[0].start:request.keys[0].start + request.keys[0].length]
        elif self.verb >= V_MG and has_flag(&request.meta, 107):  # k
            share.asked_key = key_words(&request.meta, p, request.keys[0])
        return True

    cdef bint refuse(self, bytes reply, int counter) except -1:
        self.counters.slot[counter] += 1
        self.counters.slot[W_CLIENT_ERRORS] += 1
        self.settle(reply, len(reply))
        return False

    cdef int share_done(self) except -1:
        cdef Share share
        self.outstanding -= 1
        if self.outstanding:
            return 0
        if self.verb <= V_GATS:
            self.finish_values()
        else:
            self.finish()
        for share in self.shares:
            share.exchange.let_go()
            share.exchange = None
        self.shares = self.order = self.connection = None
        return 0

    cdef int finish(self) except -1:
        """The only reply; of a flush the first one that says that a pool has not done it."""
        cdef Share share = self.shares[0]
        cdef Share other
        cdef bytes reply
        for other in self.shares:
            if other.exchange.reply_length != 4 or memcmp(other.exchange.reply, b"OK\r\n", 4) != 0:
                share = other
                break
        self.quiet |= share.exchange.quiet
        reply = share.shown()
        if reply is not None:
            return self.settle(reply, len(reply))
        return self.settle(share.exchange.reply, share.exchange.reply_length)

    cdef int finish_values(self) except -1:
        cdef Share share = self.shares[0]
        cdef dict keys
        cdef Buffer reply
        if all([(<Share> each).is_refused() for each in self.shares]):
            return self.settle(share.exchange.reply, share.exchange.reply_length)
        reply = Buffer(self.memory)
        keys = {share: iter(share.keys) for share in self.shares}
        for share in self.order:
            share.take_item(next(keys[share]), reply)
        reply.append(b"END\r\n", 5)
        return self.settle(reply.head(), reply.length())
