"""Little-endian words out of bytes at any address, and rotations. Compilers make one instruction of each."""

from libc.stdint cimport uint32_t, uint64_t


cdef inline uint32_t word32(const unsigned char *at) noexcept nogil:
    return <uint32_t>at[0] | <uint32_t>at[1] << 8 | <uint32_t>at[2] << 16 | <uint32_t>at[3] << 24


cdef inline uint64_t word64(const unsigned char *at) noexcept nogil:
    return <uint64_t>word32(at) | <uint64_t>word32(at + 4) << 32


cdef inline uint32_t rotated(uint32_t value, int bits) noexcept nogil:
    return value << bits | value >> (32 - bits)
