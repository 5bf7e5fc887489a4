"""What stands in a meta request's line behind its key (and length)."""

from libc.stdint cimport uint64_t

from memagent._core.limits cimport MAX_KEY_BYTES
from memagent._core.tokens cimport KeyRef


cdef enum MetaVerb:
    META_GET
    META_SET
    META_DELETE
    META_ARITHMETIC
    META_DEBUG


cdef struct MetaLine:
    uint64_t flags              # letters that are present: bit = letter - 'A'
    KeyRef tokens[58]           # place of each, its letter included, by the same number; only where its bit is set
    unsigned char mode          # what M names: S E A P R (ms), I D (ma); their default without M
    bint quiet                  # q
    bint binary                 # b: the key in the line is base64
    bint unknown                # flags that are no letters or that memcached 1.6.38 does not know: the server shall judge
    bint returns_key            # k was taken out: `with_key` puts it into the reply
    size_t end                  # of the last token that a server needs
    KeyRef cuts[2]              # what is not sent on, in order, each with the space before it
    int n_cuts
    unsigned char key[MAX_KEY_BYTES]    # as a server stores it; only where `binary`
    size_t key_length


cdef const char *read_flags(MetaLine *meta, MetaVerb verb, const unsigned char *p, KeyRef key, size_t position,
                            size_t end) noexcept
cdef size_t decode_base64(const unsigned char *p, size_t n, unsigned char *out) noexcept
cdef bytes encode_base64(const unsigned char *p, size_t n)
cdef bytes miss_line(const MetaLine *meta, const unsigned char *p, KeyRef key)
cdef bytes with_key(const unsigned char *p, size_t n, bytes words)
cdef bytes key_words(const MetaLine *meta, const unsigned char *p, KeyRef key)


cdef inline bint has_flag(const MetaLine *meta, unsigned char letter) noexcept:
    """Is this letter among the flags?"""
    return meta.flags >> (letter - 65) & 1


cdef inline KeyRef flag_token(const MetaLine *meta, unsigned char letter) noexcept:
    """What stands behind the letter; only where `has_flag`."""
    cdef KeyRef token = meta.tokens[letter - 65]
    token.start += 1
    token.length -= 1
    return token
