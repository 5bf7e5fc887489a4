"""What stands in a meta request's line behind its key (and length).

    mg, md, ma <key> <flag>*\\r\\n
    ms <key> <bytes> <flag>*\\r\\n<data block>\\r\\n
    me <key> [b]\\r\\n

A flag is a letter, some with a token right behind it. Invariants:
- What is accepted is answered exactly once, by every memcached from 1.6.10 on, when the line is sent without its `cuts`.
- Known flags are checked here as memcached 1.6.38 checks them and refused in its words. Others are passed on: a newer
  server may know them, and one that does not says so once, having swallowed the data block.
- `q` is never sent on: the server always answers, and the proxy hides what q hides (see `hidden`).
- Base64 keys (`b`) are looked up, and so placed, by their decoded bytes: a classic request for the same bytes meets the
  same item. They are decoded as memcached does, which skips what is not of the alphabet.
- No reply can be made to look like two. Some items with a base64 key are kept by memcached without the mark that they
  have one (those that mg or ma made with N, or md with x), and it writes their keys into replies as they are. So where a
  decoded key holds a line feed, k is not sent with mg but put into the reply by the proxy, and me is refused.
"""

from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memchr

from binascii import b2a_base64

from memagent._core.tokens cimport KeyRef, is_exptime, next_token, read_number

cdef enum:
    # memcached's own bound is 20, its end marker included. It is counted from the verb on.
    MAX_META_TOKENS = 19
    MAX_FLAGS_BYTES = 1600      # memcached closes a connection on a line of 2048 bytes that reaches it in two pieces
    MAX_OPAQUE_TOKEN_BYTES = 32
    FIRST_LETTER = 65

cdef uint64_t MAX_UINT64 = 18446744073709551615U

cdef const char *BAD_FORMAT = b"CLIENT_ERROR bad command line format\r\n"
cdef const char *BAD_KEY = b"CLIENT_ERROR bad key\r\n"
cdef const char *BAD_BASE64 = b"CLIENT_ERROR error decoding key\r\n"
cdef const char *BAD_TOKEN = b"CLIENT_ERROR bad token in command line format\r\n"
cdef const char *BAD_INITIAL = b"CLIENT_ERROR invalid numeric initial value\r\n"
cdef const char *BAD_DELTA = b"CLIENT_ERROR invalid numeric delta value\r\n"
cdef const char *BAD_M_LENGTH = b"CLIENT_ERROR incorrect length for M token\r\n"
cdef const char *BAD_MS_MODE = b"CLIENT_ERROR invalid mode for ms M token\r\n"
cdef const char *BAD_MA_MODE = b"CLIENT_ERROR invalid mode for ma M token\r\n"
cdef const char *BAD_FLAG = b"CLIENT_ERROR invalid flag\r\n"
cdef const char *DUPLICATE = b"CLIENT_ERROR duplicate flag\r\n"
cdef const char *BAD_FLAG_OR_DUPLICATE = b"CLIENT_ERROR invalid or duplicate flag\r\n"
cdef const char *TOO_MANY = b"CLIENT_ERROR options flags too long\r\n"
cdef const char *TOO_MANY_MG = b"CLIENT_ERROR options flags are too long\r\n"
cdef const char *LONG_OPAQUE = b"CLIENT_ERROR opaque token too long\r\n"


cdef inline int sextet(unsigned char c) noexcept:
    """What a base64 character stands for, 0 for the padding, -1 for what memcached skips."""
    if 65 <= c <= 90:
        return c - 65
    if 97 <= c <= 122:
        return c - 71
    if 48 <= c <= 57:
        return c + 4
    if c == 43:
        return 62
    if c == 47:
        return 63
    return 0 if c == 61 else -1


cdef size_t decode_base64(const unsigned char *p, size_t n, unsigned char *out) noexcept:
    """The length of what p[0:n] means, which is written to `out` (of n bytes); 0 where it means nothing."""
    cdef size_t i
    cdef size_t length = 0
    cdef int count = 0
    cdef int pad = 0
    cdef uint32_t bits = 0
    for i in range(n):
        count += sextet(p[i]) >= 0
    if count == 0 or count % 4:
        return 0
    count = 0
    for i in range(n):
        if sextet(p[i]) < 0:
            continue
        pad += p[i] == 61
        bits = bits << 6 | <uint32_t> sextet(p[i])
        count += 1
        if count % 4:
            continue
        out[length] = bits >> 16 & 255
        out[length + 1] = bits >> 8 & 255
        out[length + 2] = bits & 255
        length += 3
        if pad > 2:
            return 0
        if pad:
            return length - pad
    return length


cdef bytes encode_base64(const unsigned char *p, size_t n):
    return b2a_base64(<bytes> p[:n], newline=False)


cdef inline const char *unless(bint good, const char *trouble) noexcept:
    if good:
        return NULL
    return trouble


cdef const char *check_flag(MetaLine *meta, const unsigned char *p, KeyRef token, KeyRef key, bint *known) noexcept:
    """What is wrong with one flag, NULL when nothing is."""
    cdef unsigned char letter = p[token.start]
    cdef const unsigned char *argument = p + token.start + 1
    cdef size_t length = token.length - 1
    cdef uint64_t value = 0
    known[0] = True
    if letter == 98:  # b
        meta.binary = True
        meta.key_length = decode_base64(p + key.start, key.length, meta.key)
        return unless(meta.key_length > 0, BAD_BASE64)
    if letter == 84 or letter == 78 or letter == 82:  # T N R
        return unless(is_exptime(argument, length), BAD_TOKEN)
    if letter == 67 or letter == 69:  # C E
        return unless(read_number(argument, length, MAX_UINT64, &value), BAD_TOKEN)
    if letter == 70:  # F
        return unless(read_number(argument, length, MAX_UINT64, &value), BAD_FORMAT)
    if letter == 74:  # J
        return unless(read_number(argument, length, MAX_UINT64, &value), BAD_INITIAL)
    if letter == 68:  # D
        return unless(read_number(argument, length, MAX_UINT64, &value), BAD_DELTA)
    if letter == 77:  # M
        if length != 1:
            return BAD_M_LENGTH
        meta.mode = argument[0]
        return NULL
    known[0] = memchr(b"cfhklqstuvxILOP", letter, 15) != NULL
    return NULL


cdef const char *check_mode(MetaLine *meta, MetaVerb verb) noexcept:
    if verb == META_SET:
        if meta.mode == 0:
            meta.mode = 83
        return unless(memchr(b"SEAPR", meta.mode, 5) != NULL, BAD_MS_MODE)
    if verb == META_ARITHMETIC:
        if meta.mode == 0 or meta.mode == 43:
            meta.mode = 73
        elif meta.mode == 45:
            meta.mode = 68
        return unless(meta.mode == 73 or meta.mode == 68, BAD_MA_MODE)
    return NULL


cdef int cut(MetaLine *meta, unsigned char letter) noexcept:
    """Do not send this flag on, nor the space before it."""
    cdef KeyRef token = meta.tokens[letter - FIRST_LETTER]
    cdef int i = meta.n_cuts
    token.start -= 1
    token.length += 1
    if i and meta.cuts[0].start > token.start:
        meta.cuts[1] = meta.cuts[0]
        i = 0
    meta.cuts[i] = token
    meta.n_cuts += 1
    return 0


cdef const char *read_debug(MetaLine *meta, const unsigned char *p, KeyRef key, size_t position, size_t end) noexcept:
    """me: memcached looks at nothing but a b right behind the key."""
    cdef KeyRef token = next_token(p, position, end)
    if token.length == 1 and p[token.start] == 98:
        meta.binary = True
        meta.key_length = decode_base64(p + key.start, key.length, meta.key)
        if meta.key_length == 0:
            return BAD_FORMAT
        if memchr(meta.key, 10, meta.key_length) != NULL:
            return BAD_KEY
        meta.flags = <uint64_t> 1 << (98 - FIRST_LETTER)
        meta.tokens[98 - FIRST_LETTER] = token
        meta.end = token.start + token.length
    return NULL


cdef const char *read_flags(MetaLine *meta, MetaVerb verb, const unsigned char *p, KeyRef key, size_t position,
                            size_t end) noexcept:
    """Read p[position:end], what stands behind the key (and length). Returns the error line that answers it, or NULL."""
    cdef const char *trouble = NULL
    cdef const char *found
    cdef int count = 3 if verb == META_SET else 2
    cdef size_t length = 0
    cdef uint64_t others = 0    # characters below '@' that are present
    cdef unsigned char letter
    cdef bint known = True
    cdef bint twice
    cdef KeyRef token
    cdef size_t i
    meta.flags = 0
    meta.mode = 0
    meta.quiet = meta.binary = meta.unknown = meta.returns_key = False
    meta.n_cuts = 0
    meta.end = position
    if verb == META_DEBUG:
        return read_debug(meta, p, key, position, end)
    for i in range(position, end):
        if p[i] < 32 or p[i] == 127:
            # memcached would stop at a NUL
            return BAD_FORMAT
    while True:
        token = next_token(p, position, end)
        if token.length == 0:
            break
        position = meta.end = token.start + token.length
        count += 1
        length += token.length + 1
        if count > MAX_META_TOKENS or length > MAX_FLAGS_BYTES:
            return TOO_MANY_MG if verb == META_GET else TOO_MANY
        letter = p[token.start]
        if trouble == DUPLICATE or trouble == BAD_FLAG:
            continue
        if letter < 64:
            twice = others >> letter & 1
            others |= <uint64_t> 1 << letter
        elif FIRST_LETTER <= letter < FIRST_LETTER + 58:
            twice = meta.flags >> (letter - FIRST_LETTER) & 1
        else:
            twice = letter > 126
        if twice:
            trouble = BAD_FLAG if meta.unknown else DUPLICATE
            continue
        found = check_flag(meta, p, token, key, &known)
        if not known:
            meta.unknown = True
        if found != NULL and (trouble == NULL or letter != 70):
            # a bad F does not replace the complaint before it
            trouble = found
        if trouble != NULL and meta.unknown:
            trouble = BAD_FLAG
        if FIRST_LETTER <= letter < FIRST_LETTER + 58:
            meta.flags |= <uint64_t> 1 << (letter - FIRST_LETTER)
            meta.tokens[letter - FIRST_LETTER] = token
    if trouble != NULL:
        return BAD_FLAG_OR_DUPLICATE if verb == META_DELETE or verb == META_ARITHMETIC else trouble
    trouble = check_mode(meta, verb)
    if trouble == NULL and has_flag(meta, 79) and meta.tokens[79 - FIRST_LETTER].length > MAX_OPAQUE_TOKEN_BYTES:
        trouble = LONG_OPAQUE
    if has_flag(meta, 113):  # q
        meta.quiet = True
        cut(meta, 113)
    if verb == META_GET and meta.binary and has_flag(meta, 107) and memchr(meta.key, 10, meta.key_length) != NULL:
        meta.returns_key = True
        cut(meta, 107)
    return trouble


cdef bytes key_words(const MetaLine *meta, const unsigned char *p, KeyRef key):
    cdef bytes text = p[key.start:key.start + key.length]
    return b" k" + text + (b" b" if meta.binary else b"")


cdef bytes miss_line(const MetaLine *meta, const unsigned char *p, KeyRef key):
    """What a server answers to this mg when it has not got the key."""
    cdef bytes line = b""
    cdef KeyRef opaque
    if not meta.flags & (<uint64_t> 1 << (79 - FIRST_LETTER) | <uint64_t> 1 << (107 - FIRST_LETTER)):
        return b"EN\r\n"
    if has_flag(meta, 107):
        line = key_words(meta, p, key)
    if has_flag(meta, 79):
        opaque = meta.tokens[79 - FIRST_LETTER]
        if has_flag(meta, 107) and opaque.start > meta.tokens[107 - FIRST_LETTER].start:
            line = line + b" " + p[opaque.start:opaque.start + opaque.length]
        else:
            line = b" " + p[opaque.start:opaque.start + opaque.length] + line
    return b"EN" + line + b"\r\n"


cdef bytes with_key(const unsigned char *p, size_t n, bytes words):
    """The reply p[0:n] with these words behind its first line's others."""
    cdef const unsigned char *end = <const unsigned char *> memchr(p, 13, n)
    cdef size_t length = end - p
    return p[:length] + words + p[length:n]
