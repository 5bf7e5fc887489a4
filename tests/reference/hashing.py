"""The key hashes in plain, slow Python: what `memagent._core.hashing` must agree with, bit for bit."""

import hashlib
import zlib
from collections.abc import Callable

from tests.reference import xxh3

MASK32 = 0xFFFFFFFF
MASK64 = 0xFFFFFFFFFFFFFFFF


def signed(byte: int) -> int:
    """A byte as C's `char` holds it on x86: 128 to 255 are negative."""
    return byte - 256 if byte > 127 else byte


def rotate_left(value: int, bits: int) -> int:
    return (value << bits | value >> (32 - bits)) & MASK32


def word_at(data: bytes, offset: int) -> int:
    return int.from_bytes(data[offset : offset + 4], "little")


def djb(key: bytes) -> int:
    value = 5381
    for byte in key:
        value = value * 33 + signed(byte)
    return value & 0x7FFFFFFF


def one_at_a_time(key: bytes) -> int:
    value = 0
    for byte in key:
        value = (value + signed(byte)) & MASK32
        value = (value + (value << 10)) & MASK32
        value ^= value >> 6
    value = (value + (value << 3)) & MASK32
    value ^= value >> 11
    return (value + (value << 15)) & MASK32


def md5(key: bytes) -> int:
    return int.from_bytes(hashlib.md5(key).digest()[:4], "little")


def crc16(key: bytes) -> int:
    value = 0
    for byte in key:
        entry = (value >> 8 & 0xFF ^ byte) << 8
        for _ in range(8):
            entry = (entry << 1 ^ (0x1021 if entry & 0x8000 else 0)) & 0xFFFF
        value = (value << 8 ^ entry) & MASK32
    return value


def crc32(key: bytes) -> int:
    return zlib.crc32(key) >> 16 & 0x7FFF


def crc32a(key: bytes) -> int:
    return zlib.crc32(key)


def fnv1_64(key: bytes) -> int:
    value = 0xCBF29CE484222325
    for byte in key:
        value = (value * 0x100000001B3 & MASK64) ^ (signed(byte) & MASK64)
    return value & MASK32


def fnv1a_64(key: bytes) -> int:
    value = 0xCBF29CE484222325
    for byte in key:
        value = (value ^ signed(byte)) * 0x100000001B3
    return value & MASK32


def fnv1_32(key: bytes) -> int:
    value = 0x811C9DC5
    for byte in key:
        value = value * 0x01000193 ^ signed(byte)
    return value & MASK32


def fnv1a_32(key: bytes) -> int:
    value = 0x811C9DC5
    for byte in key:
        value = (value ^ signed(byte)) * 0x01000193
    return value & MASK32


def hsieh(key: bytes) -> int:
    if not key:
        return 0
    value = 0
    whole = len(key) // 4 * 4
    for offset in range(0, whole, 4):
        word = word_at(key, offset)
        value = (value + (word & 0xFFFF)) & MASK32
        value = (value << 16 ^ (word >> 16) << 11 ^ value) & MASK32
        value = (value + (value >> 11)) & MASK32
    rest = key[whole:]
    if len(rest) == 3:
        value = (value + rest[0] + (rest[1] << 8)) & MASK32
        value = (value ^ value << 16 ^ signed(rest[2]) << 18) & MASK32
        value = (value + (value >> 11)) & MASK32
    elif len(rest) == 2:
        value = (value + rest[0] + (rest[1] << 8)) & MASK32
        value = (value ^ value << 11) & MASK32
        value = (value + (value >> 17)) & MASK32
    elif len(rest) == 1:
        value = (value + rest[0]) & MASK32
        value = (value ^ value << 10) & MASK32
        value = (value + (value >> 1)) & MASK32
    for left, right in ((3, 5), (4, 17), (25, 6)):
        value = (value ^ value << left) & MASK32
        value = (value + (value >> right)) & MASK32
    return value


def murmur(key: bytes) -> int:
    """MurmurHash2 whose seed depends on the length."""
    factor = 0x5BD1E995
    value = (0xDEADBEEF * len(key) & MASK32) ^ len(key)
    whole = len(key) // 4 * 4
    for offset in range(0, whole, 4):
        word = word_at(key, offset) * factor & MASK32
        word = (word ^ word >> 24) * factor & MASK32
        value = (value * factor & MASK32) ^ word
    if key[whole:]:
        value = (value ^ word_at(key, whole)) * factor & MASK32
    value = (value ^ value >> 13) * factor & MASK32
    return value ^ value >> 15


def murmur3(key: bytes) -> int:
    """MurmurHash3 (x86, 32 bits) whose seed depends on the length."""

    def scrambled(word: int) -> int:
        return rotate_left(word * 0xCC9E2D51 & MASK32, 15) * 0x1B873593 & MASK32

    value = 0xDEADBEEF * len(key) & MASK32
    whole = len(key) // 4 * 4
    for offset in range(0, whole, 4):
        value = rotate_left(value ^ scrambled(word_at(key, offset)), 13)
        value = (value * 5 + 0xE6546B64) & MASK32
    value ^= scrambled(word_at(key, whole)) ^ len(key)
    value = (value ^ value >> 16) * 0x85EBCA6B & MASK32
    value = (value ^ value >> 13) * 0xC2B2AE35 & MASK32
    return value ^ value >> 16


def jenkins(key: bytes) -> int:
    """Bob Jenkins' lookup3, started at 13."""
    a = b = c = (0xDEADBEEF + len(key) + 13) & MASK32
    if not key:
        return c
    last = (len(key) - 1) // 12 * 12
    for offset in range(0, last, 12):
        a = (a + word_at(key, offset)) & MASK32
        b = (b + word_at(key, offset + 4)) & MASK32
        c = (c + word_at(key, offset + 8)) & MASK32
        for bits in (4, 6, 8, 16, 19, 4):
            a, b, c = b, (c + b) & MASK32, (a - c) & MASK32 ^ rotate_left(c, bits)
    a = (a + word_at(key, last)) & MASK32
    b = (b + word_at(key, last + 4)) & MASK32
    c = (c + word_at(key, last + 8)) & MASK32
    for bits in (14, 11, 25, 16, 4, 14, 24):
        a, b, c = b, ((c ^ b) - rotate_left(b, bits)) & MASK32, a
    return b


def xxh3_low(key: bytes) -> int:
    return xxh3.hash64(key) & MASK32


KEY_HASHES: dict[str, Callable[[bytes], int]] = {
    "djb": djb,
    "one_at_a_time": one_at_a_time,
    "md5": md5,
    "crc16": crc16,
    "crc32": crc32,
    "crc32a": crc32a,
    "fnv1_64": fnv1_64,
    "fnv1a_64": fnv1a_64,
    "fnv1_32": fnv1_32,
    "fnv1a_32": fnv1a_32,
    "hsieh": hsieh,
    "murmur": murmur,
    "murmur3": murmur3,
    "jenkins": jenkins,
    "xxh3": xxh3_low,
}
