"""MD5, for placing keys: it is the default key hash and makes the points of ketama rings.

A key shorter than 56 bytes is one block. The 64 steps stand one a line, so that every constant is in the
instruction and every variable in a register; what is left is the chain from step to step.

That chain keeps a core waiting, so many keys are hashed eight at a time: each step is done for all eight in vectors of
the compiler's own kind, which it makes of SSE2 on any x86-64 and of NEON on any arm64. Eight took 135 ns where one alone
took 100.
"""

from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy, memset

from memagent._core.words cimport rotated, word32

cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>

    #define LANES 8

    /* Two registers each where they have 16 bytes: the steps of one half fill the waits of the other. */
    typedef uint32_t md5_lanes __attribute__((vector_size(4 * LANES)));

    #define SELECT_BY_B(b, c, d) (d ^ (b & (c ^ d)))
    #define SELECT_BY_D(b, c, d) ((c & ~d) + (b & d))
    #define PARITY(b, c, d) ((c ^ d) ^ b)
    #define MIXED_OR(b, c, d) (c ^ (b | ~d))

    #define STEP(MIX, a, b, c, d, bits, word, constant) \\
        a += MIX(b, c, d) + x[word] + constant; \\
        a = (a << bits | a >> (32 - bits)) + b;

    #define FOUR(MIX, bits1, bits2, bits3, bits4, word1, k1, word2, k2, word3, k3, word4, k4) \\
        STEP(MIX, a, b, c, d, bits1, word1, k1) \\
        STEP(MIX, d, a, b, c, bits2, word2, k2) \\
        STEP(MIX, c, d, a, b, bits3, word3, k3) \\
        STEP(MIX, b, c, d, a, bits4, word4, k4)

    /* The first word of each digest; it is complete three steps before the end. */
    static void md5_of_lanes(const md5_lanes *x, md5_lanes *first) {
        const md5_lanes zero = {0};
        md5_lanes a = zero + 0x67452301U, b = zero + 0xefcdab89U, c = zero + 0x98badcfeU, d = zero + 0x10325476U;
        FOUR(SELECT_BY_B, 7, 12, 17, 22, 0, 0xd76aa478U, 1, 0xe8c7b756U, 2, 0x242070dbU, 3, 0xc1bdceeeU)
        FOUR(SELECT_BY_B, 7, 12, 17, 22, 4, 0xf57c0fafU, 5, 0x4787c62aU, 6, 0xa8304613U, 7, 0xfd469501U)
        FOUR(SELECT_BY_B, 7, 12, 17, 22, 8, 0x698098d8U, 9, 0x8b44f7afU, 10, 0xffff5bb1U, 11, 0x895cd7beU)
        FOUR(SELECT_BY_B, 7, 12, 17, 22, 12, 0x6b901122U, 13, 0xfd987193U, 14, 0xa679438eU, 15, 0x49b40821U)
        FOUR(SELECT_BY_D, 5, 9, 14, 20, 1, 0xf61e2562U, 6, 0xc040b340U, 11, 0x265e5a51U, 0, 0xe9b6c7aaU)
        FOUR(SELECT_BY_D, 5, 9, 14, 20, 5, 0xd62f105dU, 10, 0x02441453U, 15, 0xd8a1e681U, 4, 0xe7d3fbc8U)
        FOUR(SELECT_BY_D, 5, 9, 14, 20, 9, 0x21e1cde6U, 14, 0xc33707d6U, 3, 0xf4d50d87U, 8, 0x455a14edU)
        FOUR(SELECT_BY_D, 5, 9, 14, 20, 13, 0xa9e3e905U, 2, 0xfcefa3f8U, 7, 0x676f02d9U, 12, 0x8d2a4c8aU)
        FOUR(PARITY, 4, 11, 16, 23, 5, 0xfffa3942U, 8, 0x8771f681U, 11, 0x6d9d6122U, 14, 0xfde5380cU)
        FOUR(PARITY, 4, 11, 16, 23, 1, 0xa4beea44U, 4, 0x4bdecfa9U, 7, 0xf6bb4b60U, 10, 0xbebfbc70U)
        FOUR(PARITY, 4, 11, 16, 23, 13, 0x289b7ec6U, 0, 0xeaa127faU, 3, 0xd4ef3085U, 6, 0x04881d05U)
        FOUR(PARITY, 4, 11, 16, 23, 9, 0xd9d4d039U, 12, 0xe6db99e5U, 15, 0x1fa27cf8U, 2, 0xc4ac5665U)
        FOUR(MIXED_OR, 6, 10, 15, 21, 0, 0xf4292244U, 7, 0x432aff97U, 14, 0xab9423a7U, 5, 0xfc93a039U)
        FOUR(MIXED_OR, 6, 10, 15, 21, 12, 0x655b59c3U, 3, 0x8f0ccc92U, 10, 0xffeff47dU, 1, 0x85845dd1U)
        FOUR(MIXED_OR, 6, 10, 15, 21, 8, 0x6fa87e4fU, 15, 0xfe2ce6e0U, 6, 0xa3014314U, 13, 0x4e0811a1U)
        STEP(MIXED_OR, a, b, c, d, 6, 4, 0xf7537e82U)
        *first = a + 0x67452301U;
    }

    /* Up to LANES data of less than 56 bytes each. */
    static void md5_short(const unsigned char *const *data, const size_t *lengths, int count, uint32_t *first) {
        union { uint32_t word[16][LANES]; md5_lanes lanes[16]; } block;
        union { uint32_t word[LANES]; md5_lanes lanes; } found;
        memset(&block, 0, sizeof block);
        for (int lane = 0; lane < count; lane++) {
            const unsigned char *at = data[lane];
            size_t left = lengths[lane];
            uint32_t word, (*to)[LANES] = block.word;
            for (; left >= 4; left -= 4, at += 4)
                (*to++)[lane] = (uint32_t) at[0] | (uint32_t) at[1] << 8 | (uint32_t) at[2] << 16 | (uint32_t) at[3] << 24;
            word = (uint32_t) 0x80 << 8 * left;
            while (left--)
                word |= (uint32_t) at[left] << 8 * left;
            (*to)[lane] = word;
            block.word[14][lane] = (uint32_t) lengths[lane] << 3;
        }
        md5_of_lanes(block.lanes, &found.lanes);
        memcpy(first, found.word, count * sizeof *first);
    }

    #undef LANES
    #undef SELECT_BY_B
    #undef SELECT_BY_D
    #undef PARITY
    #undef MIXED_OR
    #undef STEP
    #undef FOUR
    """
    void md5_short(const unsigned char **data, const size_t *lengths, int count, uint32_t *first) noexcept nogil

cdef enum:
    LANES = 8
    WORTHWHILE = 2     # fewer are quicker alone
    SHORT_BYTES = 55   # with its padding and length it is one block


# In `select_by_d` the two halves have no bit in common, so a sum may stand for the `or`, and the half without
# the newest variable is ready early.
cdef inline uint32_t select_by_b(
    uint32_t a, uint32_t b, uint32_t c, uint32_t d, uint32_t word, int bits, uint32_t constant
) noexcept nogil:
    return b + rotated(a + word + constant + (d ^ (b & (c ^ d))), bits)


cdef inline uint32_t select_by_d(
    uint32_t a, uint32_t b, uint32_t c, uint32_t d, uint32_t word, int bits, uint32_t constant
) noexcept nogil:
    return b + rotated((a + word + constant + (c & ~d)) + (b & d), bits)


cdef inline uint32_t parity(
    uint32_t a, uint32_t b, uint32_t c, uint32_t d, uint32_t word, int bits, uint32_t constant
) noexcept nogil:
    return b + rotated(a + word + constant + ((c ^ d) ^ b), bits)


cdef inline uint32_t mixed_or(
    uint32_t a, uint32_t b, uint32_t c, uint32_t d, uint32_t word, int bits, uint32_t constant
) noexcept nogil:
    return b + rotated(a + word + constant + (c ^ (b | ~d)), bits)


cdef void add_block(uint32_t *state, const unsigned char *block) noexcept nogil:
    cdef uint32_t a = state[0], b = state[1], c = state[2], d = state[3]
    cdef uint32_t x[16]
    cdef int i
    for i in range(16):
        x[i] = word32(block + 4 * i)

    a = select_by_b(a, b, c, d, x[0], 7, 0xd76aa478U)
    d = select_by_b(d, a, b, c, x[1], 12, 0xe8c7b756U)
    c = select_by_b(c, d, a, b, x[2], 17, 0x242070dbU)
    b = select_by_b(b, c, d, a, x[3], 22, 0xc1bdceeeU)
    a = select_by_b(a, b, c, d, x[4], 7, 0xf57c0fafU)
    d = select_by_b(d, a, b, c, x[5], 12, 0x4787c62aU)
    c = select_by_b(c, d, a, b, x[6], 17, 0xa8304613U)
    b = select_by_b(b, c, d, a, x[7], 22, 0xfd469501U)
    a = select_by_b(a, b, c, d, x[8], 7, 0x698098d8U)
    d = select_by_b(d, a, b, c, x[9], 12, 0x8b44f7afU)
    c = select_by_b(c, d, a, b, x[10], 17, 0xffff5bb1U)
    b = select_by_b(b, c, d, a, x[11], 22, 0x895cd7beU)
    a = select_by_b(a, b, c, d, x[12], 7, 0x6b901122U)
    d = select_by_b(d, a, b, c, x[13], 12, 0xfd987193U)
    c = select_by_b(c, d, a, b, x[14], 17, 0xa679438eU)
    b = select_by_b(b, c, d, a, x[15], 22, 0x49b40821U)

    a = select_by_d(a, b, c, d, x[1], 5, 0xf61e2562U)
    d = select_by_d(d, a, b, c, x[6], 9, 0xc040b340U)
    c = select_by_d(c, d, a, b, x[11], 14, 0x265e5a51U)
    b = select_by_d(b, c, d, a, x[0], 20, 0xe9b6c7aaU)
    a = select_by_d(a, b, c, d, x[5], 5, 0xd62f105dU)
    d = select_by_d(d, a, b, c, x[10], 9, 0x02441453U)
    c = select_by_d(c, d, a, b, x[15], 14, 0xd8a1e681U)
    b = select_by_d(b, c, d, a, x[4], 20, 0xe7d3fbc8U)
    a = select_by_d(a, b, c, d, x[9], 5, 0x21e1cde6U)
    d = select_by_d(d, a, b, c, x[14], 9, 0xc33707d6U)
    c = select_by_d(c, d, a, b, x[3], 14, 0xf4d50d87U)
    b = select_by_d(b, c, d, a, x[8], 20, 0x455a14edU)
    a = select_by_d(a, b, c, d, x[13], 5, 0xa9e3e905U)
    d = select_by_d(d, a, b, c, x[2], 9, 0xfcefa3f8U)
    c = select_by_d(c, d, a, b, x[7], 14, 0x676f02d9U)
    b = select_by_d(b, c, d, a, x[12], 20, 0x8d2a4c8aU)

    a = parity(a, b, c, d, x[5], 4, 0xfffa3942U)
    d = parity(d, a, b, c, x[8], 11, 0x8771f681U)
    c = parity(c, d, a, b, x[11], 16, 0x6d9d6122U)
    b = parity(b, c, d, a, x[14], 23, 0xfde5380cU)
    a = parity(a, b, c, d, x[1], 4, 0xa4beea44U)
    d = parity(d, a, b, c, x[4], 11, 0x4bdecfa9U)
    c = parity(c, d, a, b, x[7], 16, 0xf6bb4b60U)
    b = parity(b, c, d, a, x[10], 23, 0xbebfbc70U)
    a = parity(a, b, c, d, x[13], 4, 0x289b7ec6U)
    d = parity(d, a, b, c, x[0], 11, 0xeaa127faU)
    c = parity(c, d, a, b, x[3], 16, 0xd4ef3085U)
    b = parity(b, c, d, a, x[6], 23, 0x04881d05U)
    a = parity(a, b, c, d, x[9], 4, 0xd9d4d039U)
    d = parity(d, a, b, c, x[12], 11, 0xe6db99e5U)
    c = parity(c, d, a, b, x[15], 16, 0x1fa27cf8U)
    b = parity(b, c, d, a, x[2], 23, 0xc4ac5665U)

    a = mixed_or(a, b, c, d, x[0], 6, 0xf4292244U)
    d = mixed_or(d, a, b, c, x[7], 10, 0x432aff97U)
    c = mixed_or(c, d, a, b, x[14], 15, 0xab9423a7U)
    b = mixed_or(b, c, d, a, x[5], 21, 0xfc93a039U)
    a = mixed_or(a, b, c, d, x[12], 6, 0x655b59c3U)
    d = mixed_or(d, a, b, c, x[3], 10, 0x8f0ccc92U)
    c = mixed_or(c, d, a, b, x[10], 15, 0xffeff47dU)
    b = mixed_or(b, c, d, a, x[1], 21, 0x85845dd1U)
    a = mixed_or(a, b, c, d, x[8], 6, 0x6fa87e4fU)
    d = mixed_or(d, a, b, c, x[15], 10, 0xfe2ce6e0U)
    c = mixed_or(c, d, a, b, x[6], 15, 0xa3014314U)
    b = mixed_or(b, c, d, a, x[13], 21, 0x4e0811a1U)
    a = mixed_or(a, b, c, d, x[4], 6, 0xf7537e82U)
    d = mixed_or(d, a, b, c, x[11], 10, 0xbd3af235U)
    c = mixed_or(c, d, a, b, x[2], 15, 0x2ad7d2bbU)
    b = mixed_or(b, c, d, a, x[9], 21, 0xeb86d391U)

    state[0] += a
    state[1] += b
    state[2] += c
    state[3] += d


cdef void md5_words(const unsigned char *data, size_t length, uint32_t *state) noexcept nogil:
    cdef unsigned char last[128]
    cdef size_t rest = length, size
    cdef uint64_t bits = <uint64_t>length << 3
    cdef int i
    state[0] = 0x67452301U
    state[1] = 0xefcdab89U
    state[2] = 0x98badcfeU
    state[3] = 0x10325476U
    while rest >= 64:
        add_block(state, data)
        data += 64
        rest -= 64
    size = 64 if rest < 56 else 128
    memset(last, 0, size)
    memcpy(last, data, rest)
    last[rest] = 0x80
    for i in range(8):
        last[size - 8 + i] = <unsigned char>(bits >> 8 * i)
    add_block(state, last)
    if size == 128:
        add_block(state, last + 64)


cdef void md5_first_words(
    const unsigned char **data, const size_t *lengths, int count, uint32_t *first
) noexcept nogil:
    cdef const unsigned char *chosen[LANES]
    cdef size_t chosen_lengths[LANES]
    cdef uint32_t found[LANES]
    cdef uint32_t words[4]
    cdef int places[LANES]
    cdef int waiting = 0, i, lane
    for i in range(count):
        if lengths[i] <= SHORT_BYTES:
            chosen[waiting] = data[i]
            chosen_lengths[waiting] = lengths[i]
            places[waiting] = i
            waiting += 1
        else:
            md5_words(data[i], lengths[i], words)
            first[i] = words[0]
        if waiting == LANES or (i == count - 1 and waiting >= WORTHWHILE):
            md5_short(chosen, chosen_lengths, waiting, found)
            for lane in range(waiting):
                first[places[lane]] = found[lane]
            waiting = 0
    for lane in range(waiting):
        md5_words(chosen[lane], chosen_lengths[lane], words)
        first[places[lane]] = words[0]


def digest(data: bytes) -> bytes:
    """The 16 bytes of `data`'s MD5."""
    cdef uint32_t state[4]
    cdef unsigned char out[16]
    cdef int i
    md5_words(data, len(data), state)
    for i in range(16):
        out[i] = <unsigned char>(state[i >> 2] >> 8 * (i & 3))
    return out[:16]


def first_words(data: list[bytes]) -> list[int]:
    """The first four bytes of each one's MD5, as a little-endian number; 64 at once at most."""
    cdef const unsigned char *at[64]
    cdef size_t lengths[64]
    cdef uint32_t found[64]
    cdef int count = <int>len(data), i
    if count > 64:
        raise ValueError(f"{count} at once")
    memset(lengths, 0, sizeof(lengths))
    for i in range(count):
        at[i] = data[i]
        lengths[i] = len(data[i])
    md5_first_words(at, lengths, count, found)
    return [found[i] for i in range(count)]
