"""What a meta request asks for: of the request itself nothing is left when the reply comes.

A reply is passed on as it is, unless the client's q hides it.

    mg k v q O1 ──▶ server: mg k v O1 ──▶ VA 3 O1 ──▶ client
                                     └──▶ EN O1   ──▶ nobody

Invariants:
- The server always answers, and what q hides ends here: as with noreply, a late reply can never shift those of others.
- Errors are never hidden, as in memcached.
- Meta requests are counted as their classic twins, and by cmd_meta.
"""

cimport cython

from libc.stdint cimport uint64_t

from memagent._core.cas cimport shown_cas
from memagent._core.meta cimport MetaLine, flag_token, has_flag, key_words, miss_line, with_key
from memagent._core.reply cimport E_BLOCK, E_MA, E_MD, E_ME, E_MG, E_MS, R_EN, R_EX, R_HD, R_VA, Code
from memagent._core.request cimport V_CAS, V_MA, V_MD, V_ME, V_MG, V_MS, V_REPLACE, RequestParser, Verb
from memagent._core.server cimport Server
from memagent._core.tokens cimport KeyRef


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
    cdef MetaLine *meta = &request.meta
    self.verb = request.verb
    self.twin = request.twin
    self.line = request.sent_line(p)
    if b"  " in self.line:
        self.line = b" ".join([word for word in self.line.split(b" ") if word])
    if meta.quiet:
        self.hidden = hidden(request.verb)
    if has_flag(meta, 84):  # T
        self.exptime = text_of(p, flag_token(meta, 84))
    if has_flag(meta, 67):  # C
        self.has_cas = True
        self.cas = int(text_of(p, flag_token(meta, 67)))
    self.chooses_cas = has_flag(meta, 69)  # E
    self.shows_cas = has_flag(meta, 99)  # c
    self.vivifies = has_flag(meta, 78) and request.verb == V_MG  # N
    self.tail = b"\r\n" if request.verb == V_ME else miss_line(meta, p, request.keys[0])[2:]
    if meta.returns_key:
        self.key_words = key_words(meta, p, request.keys[0])
    return self


cdef inline bytes text_of(const unsigned char *p, KeyRef token):
    return p[token.start:token.start + token.length]


@cython.final
cdef class Asked:
    cdef bint hides(self, Code code) noexcept:
        return self.hidden >> <int> code & 1

    cdef bytes bare(self, Code code):
        """A reply of the proxy's own."""
        return (b"EX" if code == R_EX else b"EN") + self.tail

    cdef list words(self, bytes letters):
        """The words of the line, without the flags of these letters."""
        cdef list words = self.line.split(b" ")
        cdef int fixed = 3 if self.verb == V_MS else 2
        return words[:fixed] + [word for word in words[fixed:] if word[:1] not in letters]

    cdef bytes with_cas(self, uint64_t cas):
        """The line for a server that knows the item by another cas unique than clients do."""
        return b" ".join(self.words(b"C") + [b"C%d" % cas])

    cdef bytes effect(self):
        """The line for a follower: what the authority has done is done there without a condition."""
        if self.twin == V_CAS or self.twin == V_REPLACE:
            return b" ".join(self.words(b"CM"))
        return b" ".join(self.words(b"C")) if self.has_cas else self.line

    cdef bytes plain(self):
        """The line of a mg that only looks."""
        return b" ".join(self.words(b"N"))

    cdef bytes shown(self, const unsigned char *p, size_t n, Server server, bint is_owner, bint has_copies):
        """The reply p[0:n] as the client is to see it; None if that is as it is."""
        cdef bytes line
        cdef list words
        cdef int i
        if self.key_words is not None:
            return with_key(p, n, self.key_words)
        if not has_copies or not self.shows_cas or is_owner and server.joined == 0:
            return None
        line = p[:n]
        line, _, rest = line.partition(b"\r\n")
        words = line.split(b" ")
        for i in range(2 if words[0] == b"VA" else 1, len(words)):
            if words[i][:1] == b"c" and words[i][1:].isdigit():
                words[i] = b"c%d" % shown_cas(int(words[i][1:]), server, is_owner)
        return b" ".join(words) + b"\r\n" + rest
