"""XXH3 with 64 bits and seed 0. Lengths up to 3, 8, 16, 128, 240 and beyond each have their own method."""

from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy

from memagent._core.words cimport word32, word64

cdef extern from *:
    ctypedef unsigned long long uint128_t "unsigned __int128"
    uint64_t byte_swapped "__builtin_bswap64"(uint64_t) noexcept nogil

cdef enum:
    SECRET_BYTES = 192
    STRIPE_BYTES = 64
    LANES = 8
    STRIPES_PER_BLOCK = 16  # a stripe's key starts 8 bytes further into the secret than the one before

cdef uint64_t PRIME32_1 = 0x9e3779b1U
cdef uint64_t PRIME32_2 = 0x85ebca77U
cdef uint64_t PRIME32_3 = 0xc2b2ae3dU
cdef uint64_t PRIME64_1 = 0x9e3779b185ebca87U
cdef uint64_t PRIME64_2 = 0xc2b2ae3d27d4eb4fU
cdef uint64_t PRIME64_3 = 0x165667b19e3779f9U
cdef uint64_t PRIME64_4 = 0x85ebca77c2b2ae63U
cdef uint64_t PRIME64_5 = 0x27d4eb2f165667c5U
cdef uint64_t PRIME_MX1 = 0x165667919e3779f9U
cdef uint64_t PRIME_MX2 = 0x9fb21c651e98df25U

cdef unsigned char SECRET[SECRET_BYTES]
cdef bytes _secret = bytes.fromhex(
    "b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671f"
    "cb79e64eccc0e578825ad07dccff7221b8084674f743248ee03590e6813a264c"
    "3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8"
    "a8fa763fe39c343ff9dcbbc7c70b4f1d8a51e04bcdb45931c89f7ec9d9787364"
    "eac5ac8334d3ebc3c581a0fffa1363eb170ddd51b7f0da49d316552629d4689e"
    "2b16be587d47a1fc8ff8b8d17ad031ce45cb3a8f95160428afd7fbcabb4b407e"
)
memcpy(SECRET, <const unsigned char *>_secret, SECRET_BYTES)


cdef inline uint64_t folded_product(uint64_t left, uint64_t right) noexcept nogil:
    cdef uint128_t product = <uint128_t>left * right
    return <uint64_t>product ^ <uint64_t>(product >> 64)


cdef inline uint64_t avalanche(uint64_t value) noexcept nogil:
    value = (value ^ value >> 37) * PRIME_MX1
    return value ^ value >> 32


cdef inline uint64_t xxh64_avalanche(uint64_t value) noexcept nogil:
    value = (value ^ value >> 33) * PRIME64_2
    value = (value ^ value >> 29) * PRIME64_3
    return value ^ value >> 32


cdef inline uint64_t mixed16(const unsigned char *at, const unsigned char *secret) noexcept nogil:
    return folded_product(word64(at) ^ word64(secret), word64(at + 8) ^ word64(secret + 8))


cdef uint64_t up_to_3(const unsigned char *data, size_t length) noexcept nogil:
    cdef uint32_t combined = (
        <uint32_t>data[0] << 16 | <uint32_t>data[length >> 1] << 24 | data[length - 1] | <uint32_t>length << 8
    )
    return xxh64_avalanche(combined ^ word32(SECRET) ^ word32(SECRET + 4))


cdef uint64_t up_to_8(const unsigned char *data, size_t length) noexcept nogil:
    cdef uint64_t value = (
        (<uint64_t>word32(data) << 32) + word32(data + length - 4) ^ word64(SECRET + 8) ^ word64(SECRET + 16)
    )
    value ^= (value << 49 | value >> 15) ^ (value << 24 | value >> 40)
    value *= PRIME_MX2
    value ^= (value >> 35) + length
    value *= PRIME_MX2
    return value ^ value >> 28


cdef uint64_t up_to_16(const unsigned char *data, size_t length) noexcept nogil:
    cdef uint64_t low = word64(data) ^ word64(SECRET + 24) ^ word64(SECRET + 32)
    cdef uint64_t high = word64(data + length - 8) ^ word64(SECRET + 40) ^ word64(SECRET + 48)
    return avalanche(length + byte_swapped(low) + high + folded_product(low, high))


cdef uint64_t up_to_128(const unsigned char *data, size_t length) noexcept nogil:
    cdef uint64_t value = length * PRIME64_1
    cdef size_t step
    for step in range((length - 1) // 32 + 1):
        value += mixed16(data + 16 * step, SECRET + 32 * step)
        value += mixed16(data + length - 16 * (step + 1), SECRET + 32 * step + 16)
    return avalanche(value)


cdef uint64_t up_to_240(const unsigned char *data, size_t length) noexcept nogil:
    cdef uint64_t value = length * PRIME64_1
    cdef size_t step
    for step in range(8):
        value += mixed16(data + 16 * step, SECRET + 16 * step)
    value = avalanche(value)
    for step in range(8, length // 16):
        value += mixed16(data + 16 * step, SECRET + 16 * (step - 8) + 3)
    value += mixed16(data + length - 16, SECRET + 119)
    return avalanche(value)


cdef void add_stripe(uint64_t *lanes, const unsigned char *at, const unsigned char *secret) noexcept nogil:
    cdef uint64_t word, keyed
    cdef int lane
    for lane in range(LANES):
        word = word64(at + 8 * lane)
        keyed = word ^ word64(secret + 8 * lane)
        lanes[lane ^ 1] += word
        lanes[lane] += (keyed & 0xffffffffU) * (keyed >> 32)


cdef uint64_t longer(const unsigned char *data, size_t length) noexcept nogil:
    cdef uint64_t lanes[LANES]
    cdef size_t stripe
    cdef uint64_t value
    cdef int lane
    lanes[0] = PRIME32_3
    lanes[1] = PRIME64_1
    lanes[2] = PRIME64_2
    lanes[3] = PRIME64_3
    lanes[4] = PRIME64_4
    lanes[5] = PRIME32_2
    lanes[6] = PRIME64_5
    lanes[7] = PRIME32_1
    for stripe in range((length - 1) // STRIPE_BYTES):
        add_stripe(lanes, data + STRIPE_BYTES * stripe, SECRET + 8 * (stripe % STRIPES_PER_BLOCK))
        if stripe % STRIPES_PER_BLOCK == STRIPES_PER_BLOCK - 1:
            for lane in range(LANES):
                value = lanes[lane] ^ lanes[lane] >> 47
                lanes[lane] = (value ^ word64(SECRET + SECRET_BYTES - STRIPE_BYTES + 8 * lane)) * PRIME32_1
    add_stripe(lanes, data + length - STRIPE_BYTES, SECRET + SECRET_BYTES - STRIPE_BYTES - 7)
    value = length * PRIME64_1
    for lane in range(0, LANES, 2):
        value += folded_product(
            lanes[lane] ^ word64(SECRET + 11 + 8 * lane), lanes[lane + 1] ^ word64(SECRET + 19 + 8 * lane)
        )
    return avalanche(value)


cdef uint64_t xxh3_64(const unsigned char *data, size_t length) noexcept nogil:
    if length > 240:
        return longer(data, length)
    if length > 128:
        return up_to_240(data, length)
    if length > 16:
        return up_to_128(data, length)
    if length > 8:
        return up_to_16(data, length)
    if length > 3:
        return up_to_8(data, length)
    if length > 0:
        return up_to_3(data, length)
    return xxh64_avalanche(word64(SECRET + 56) ^ word64(SECRET + 64))


def digest64(data: bytes) -> int:
    """The whole 64 bits for `data`."""
    return xxh3_64(data, len(data))
