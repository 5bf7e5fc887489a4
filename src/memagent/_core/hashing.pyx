"""The key hashes: what turns a key into the number that a ring looks up.

Each gives the number that the software which made it popular gives, quirks included, because only then do
keys stay where they are: magent for djb; libmemcached and twemproxy, which agree, for the others but xxh3.

- In djb, one_at_a_time, the four fnv and the last byte of three in hsieh, a byte above 127 is negative (C's
  `char` on x86).
- The fnv of 64 bits are cut to their low 32. Those never depend on the upper ones, so 32 bits are enough.
- crc16 is not cut to 16 bits; crc32 is cut to 15 (bits 16 to 30); crc32a is the whole of the usual CRC-32.
- murmur (2) and murmur3 take their seed from the length.
- xxh3 is the low half of XXH3 with 64 bits and seed 0.
"""

from libc.stdint cimport int8_t, uint32_t

from memagent._core.md5 cimport md5_words
from memagent._core.words cimport rotated, word32
from memagent._core.xxh3 cimport xxh3_64
from memagent.errors import ConfigError

cdef uint32_t CRC16_TABLE[256]
cdef uint32_t CRC32_TABLE[256]


cdef void fill_crc_tables() noexcept nogil:
    cdef uint32_t byte, entry
    cdef int _bit
    for byte in range(256):
        entry = byte << 8
        for _bit in range(8):
            entry = entry << 1 ^ (0x1021U if entry & 0x8000U else 0)
        CRC16_TABLE[byte] = entry & 0xffffU
        entry = byte
        for _bit in range(8):
            entry = entry >> 1 ^ (0xedb88320U if entry & 1 else 0)
        CRC32_TABLE[byte] = entry


fill_crc_tables()


cdef inline uint32_t signed_byte(unsigned char byte) noexcept nogil:
    return <uint32_t><int8_t>byte


cdef inline uint32_t tail_word(const unsigned char *at, size_t length) noexcept nogil:
    """The word of the last `length` bytes, fewer than four, filled up with zeros."""
    cdef uint32_t word = 0
    if length > 2:
        word = <uint32_t>at[2] << 16
    if length > 1:
        word |= <uint32_t>at[1] << 8
    if length > 0:
        word |= at[0]
    return word


cdef uint32_t djb(const unsigned char *key, size_t length) noexcept nogil:
    cdef uint32_t value = 5381
    cdef size_t i
    for i in range(length):
        value = value * 33 + signed_byte(key[i])
    return value & 0x7fffffff


cdef uint32_t one_at_a_time(const unsigned char *key, size_t length) noexcept nogil:
    cdef uint32_t value = 0
    cdef size_t i
    for i in range(length):
        value += signed_byte(key[i])
        value += value << 10
        value ^= value >> 6
    value += value << 3
    value ^= value >> 11
    return value + (value << 15)


cdef uint32_t md5(const unsigned char *key, size_t length) noexcept nogil:
    cdef uint32_t words[4]
    md5_words(key, length, words)
    return words[0]


cdef uint32_t crc16(const unsigned char *key, size_t length) noexcept nogil:
    cdef uint32_t value = 0
    cdef size_t i
    for i in range(length):
        value = value << 8 ^ CRC16_TABLE[(value >> 8 ^ key[i]) & 0xff]
    return value


cdef uint32_t crc32a(const unsigned char *key, size_t length) noexcept nogil:
    cdef uint32_t value = 0xffffffffU
    cdef size_t i
    for i in range(length):
        value = value >> 8 ^ CRC32_TABLE[(value ^ key[i]) & 0xff]
    return ~value


cdef uint32_t crc32(const unsigned char *key, size_t length) noexcept nogil:
    return crc32a(key, length) >> 16 & 0x7fff


cdef inline uint32_t fnv1(
    const unsigned char *key, size_t length, uint32_t value, uint32_t prime
) noexcept nogil:
    cdef size_t i
    for i in range(length):
        value *= prime
        value ^= signed_byte(key[i])
    return value


cdef inline uint32_t fnv1a(
    const unsigned char *key, size_t length, uint32_t value, uint32_t prime
) noexcept nogil:
    cdef size_t i
    for i in range(length):
        value ^= signed_byte(key[i])
        value *= prime
    return value


cdef uint32_t fnv1_64(const unsigned char *key, size_t length) noexcept nogil:
    return fnv1(key, length, 0x84222325U, 0x1b3)


cdef uint32_t fnv1a_64(const unsigned char *key, size_t length) noexcept nogil:
    return fnv1a(key, length, 0x84222325U, 0x1b3)


cdef uint32_t fnv1_32(const unsigned char *key, size_t length) noexcept nogil:
    return fnv1(key, length, 0x811c9dc5U, 0x01000193)


cdef uint32_t fnv1a_32(const unsigned char *key, size_t length) noexcept nogil:
    return fnv1a(key, length, 0x811c9dc5U, 0x01000193)


cdef uint32_t hsieh(const unsigned char *key, size_t length) noexcept nogil:
    cdef uint32_t value = 0, word
    cdef size_t rest = length & 3
    cdef const unsigned char *end = key + (length - rest)
    if length == 0:
        return 0
    while key < end:
        word = word32(key)
        value += word & 0xffff
        value = value << 16 ^ (word >> 16) << 11 ^ value
        value += value >> 11
        key += 4
    if rest == 3:
        value += tail_word(key, 2)
        value ^= value << 16
        value ^= signed_byte(key[2]) << 18
        value += value >> 11
    elif rest == 2:
        value += tail_word(key, 2)
        value ^= value << 11
        value += value >> 17
    elif rest == 1:
        value += key[0]
        value ^= value << 10
        value += value >> 1
    value ^= value << 3
    value += value >> 5
    value ^= value << 4
    value += value >> 17
    value ^= value << 25
    return value + (value >> 6)


cdef uint32_t murmur(const unsigned char *key, size_t length) noexcept nogil:
    cdef uint32_t factor = 0x5bd1e995, word
    cdef uint32_t value = 0xdeadbeefU * <uint32_t>length ^ <uint32_t>length
    cdef size_t rest = length & 3
    cdef const unsigned char *end = key + (length - rest)
    while key < end:
        word = word32(key) * factor
        word = (word ^ word >> 24) * factor
        value = value * factor ^ word
        key += 4
    if rest:
        value = (value ^ tail_word(key, rest)) * factor
    value = (value ^ value >> 13) * factor
    return value ^ value >> 15


cdef inline uint32_t murmur3_word(uint32_t word) noexcept nogil:
    return rotated(word * 0xcc9e2d51U, 15) * 0x1b873593U


cdef uint32_t murmur3(const unsigned char *key, size_t length) noexcept nogil:
    cdef uint32_t value = 0xdeadbeefU * <uint32_t>length
    cdef size_t rest = length & 3
    cdef const unsigned char *end = key + (length - rest)
    while key < end:
        value = rotated(value ^ murmur3_word(word32(key)), 13) * 5 + 0xe6546b64U
        key += 4
    value ^= murmur3_word(tail_word(key, rest)) ^ <uint32_t>length
    value = (value ^ value >> 16) * 0x85ebca6bU
    value = (value ^ value >> 13) * 0xc2b2ae35U
    return value ^ value >> 16


cdef inline uint32_t word_or_tail(const unsigned char *at, size_t length) noexcept nogil:
    return word32(at) if length >= 4 else tail_word(at, length)


cdef uint32_t jenkins(const unsigned char *key, size_t length) noexcept nogil:
    cdef uint32_t a, b, c
    a = b = c = 0xdeadbeefU + <uint32_t>length + 13
    if length == 0:
        return c
    while length > 12:
        a += word32(key)
        b += word32(key + 4)
        c += word32(key + 8)
        a = (a - c) ^ rotated(c, 4)
        c += b
        b = (b - a) ^ rotated(a, 6)
        a += c
        c = (c - b) ^ rotated(b, 8)
        b += a
        a = (a - c) ^ rotated(c, 16)
        c += b
        b = (b - a) ^ rotated(a, 19)
        a += c
        c = (c - b) ^ rotated(b, 4)
        b += a
        key += 12
        length -= 12
    a += word_or_tail(key, length)
    if length > 4:
        b += word_or_tail(key + 4, length - 4)
    if length > 8:
        c += word_or_tail(key + 8, length - 8)
    c = (c ^ b) - rotated(b, 14)
    a = (a ^ c) - rotated(c, 11)
    b = (b ^ a) - rotated(a, 25)
    c = (c ^ b) - rotated(b, 16)
    a = (a ^ c) - rotated(c, 4)
    b = (b ^ a) - rotated(a, 14)
    return (c ^ b) - rotated(b, 24)


cdef uint32_t xxh3(const unsigned char *key, size_t length) noexcept nogil:
    return <uint32_t>xxh3_64(key, length)


cdef struct Entry:
    const char *name
    KeyHash function


cdef Entry TABLE[15]
TABLE = [
    Entry(b"djb", djb),
    Entry(b"one_at_a_time", one_at_a_time),
    Entry(b"md5", md5),
    Entry(b"crc16", crc16),
    Entry(b"crc32", crc32),
    Entry(b"crc32a", crc32a),
    Entry(b"fnv1_64", fnv1_64),
    Entry(b"fnv1a_64", fnv1a_64),
    Entry(b"fnv1_32", fnv1_32),
    Entry(b"fnv1a_32", fnv1a_32),
    Entry(b"hsieh", hsieh),
    Entry(b"murmur", murmur),
    Entry(b"murmur3", murmur3),
    Entry(b"jenkins", jenkins),
    Entry(b"xxh3", xxh3),
]

KEY_HASHES = tuple(entry.name.decode() for entry in TABLE)


cdef KeyHash find_key_hash(str name) except NULL:
    if name not in KEY_HASHES:
        raise ConfigError(f'key_hash "{name}" is not known', f"one of: {', '.join(KEY_HASHES)}")
    return TABLE[KEY_HASHES.index(name)].function


def key_hash(name: str, key: bytes) -> int:
    """The number that the key hash called `name` gives for `key`."""
    return find_key_hash(name)(key, len(key))
