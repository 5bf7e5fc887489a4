"""XXH3 with 64 bits and seed 0 in plain, slow Python, for any length."""

MASK64 = 0xFFFFFFFFFFFFFFFF

PRIME32_1, PRIME32_2, PRIME32_3 = 0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D
PRIME64_1, PRIME64_2, PRIME64_3 = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9
PRIME64_4, PRIME64_5 = 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5
PRIME_MX1, PRIME_MX2 = 0x165667919E3779F9, 0x9FB21C651E98DF25

SECRET = bytes.fromhex(
    "b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671f"
    "cb79e64eccc0e578825ad07dccff7221b8084674f743248ee03590e6813a264c"
    "3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8"
    "a8fa763fe39c343ff9dcbbc7c70b4f1d8a51e04bcdb45931c89f7ec9d9787364"
    "eac5ac8334d3ebc3c581a0fffa1363eb170ddd51b7f0da49d316552629d4689e"
    "2b16be587d47a1fc8ff8b8d17ad031ce45cb3a8f95160428afd7fbcabb4b407e"
)


def word32(data: bytes, offset: int) -> int:
    return int.from_bytes(data[offset : offset + 4], "little")


def word64(data: bytes, offset: int) -> int:
    return int.from_bytes(data[offset : offset + 8], "little")


def folded_product(left: int, right: int) -> int:
    product = left * right
    return (product & MASK64) ^ (product >> 64)


def xxh64_avalanche(value: int) -> int:
    value = (value ^ value >> 33) * PRIME64_2 & MASK64
    value = (value ^ value >> 29) * PRIME64_3 & MASK64
    return value ^ value >> 32


def avalanche(value: int) -> int:
    value = (value ^ value >> 37) * PRIME_MX1 & MASK64
    return value ^ value >> 32


def mixed16(data: bytes, offset: int, secret_offset: int) -> int:
    return folded_product(
        word64(data, offset) ^ word64(SECRET, secret_offset),
        word64(data, offset + 8) ^ word64(SECRET, secret_offset + 8),
    )


def up_to_3(data: bytes) -> int:
    size = len(data)
    combined = data[0] << 16 | data[size >> 1] << 24 | data[-1] | size << 8
    return xxh64_avalanche(combined ^ word32(SECRET, 0) ^ word32(SECRET, 4))


def up_to_8(data: bytes) -> int:
    size = len(data)
    value = (word32(data, size - 4) + (word32(data, 0) << 32)) ^ word64(SECRET, 8) ^ word64(SECRET, 16)
    rotated = (value << 49 | value >> 15) ^ (value << 24 | value >> 40)
    value = ((value ^ rotated) & MASK64) * PRIME_MX2 & MASK64
    value = (value ^ (value >> 35) + size) * PRIME_MX2 & MASK64
    return value ^ value >> 28


def up_to_16(data: bytes) -> int:
    size = len(data)
    low = word64(data, 0) ^ word64(SECRET, 24) ^ word64(SECRET, 32)
    high = word64(data, size - 8) ^ word64(SECRET, 40) ^ word64(SECRET, 48)
    swapped = int.from_bytes(low.to_bytes(8, "little"), "big")
    return avalanche((size + swapped + high + folded_product(low, high)) & MASK64)


def up_to_128(data: bytes) -> int:
    size = len(data)
    value = size * PRIME64_1
    for step in range((size - 1) // 32 + 1):
        value += mixed16(data, 16 * step, 32 * step)
        value += mixed16(data, size - 16 * (step + 1), 32 * step + 16)
    return avalanche(value & MASK64)


def up_to_240(data: bytes) -> int:
    size = len(data)
    value = size * PRIME64_1
    for step in range(8):
        value += mixed16(data, 16 * step, 16 * step)
    value = avalanche(value & MASK64)
    for step in range(8, size // 16):
        value += mixed16(data, 16 * step, 16 * (step - 8) + 3)
    value += mixed16(data, size - 16, 136 - 17)
    return avalanche(value & MASK64)


def longer(data: bytes) -> int:
    lanes = [PRIME32_3, PRIME64_1, PRIME64_2, PRIME64_3, PRIME64_4, PRIME32_2, PRIME64_5, PRIME32_1]

    def take_stripe(offset: int, secret_offset: int) -> None:
        for lane in range(8):
            word = word64(data, offset + 8 * lane)
            keyed = word ^ word64(SECRET, secret_offset + 8 * lane)
            lanes[lane ^ 1] = (lanes[lane ^ 1] + word) & MASK64
            lanes[lane] = (lanes[lane] + (keyed & 0xFFFFFFFF) * (keyed >> 32)) & MASK64

    stripes = (len(data) - 1) // 64
    for stripe in range(stripes):
        take_stripe(64 * stripe, 8 * (stripe % 16))
        if stripe % 16 == 15:
            for lane in range(8):
                value = lanes[lane] ^ lanes[lane] >> 47 ^ word64(SECRET, 128 + 8 * lane)
                lanes[lane] = value * PRIME32_1 & MASK64
    take_stripe(len(data) - 64, 192 - 64 - 7)

    value = len(data) * PRIME64_1
    for pair in range(4):
        value += folded_product(
            lanes[2 * pair] ^ word64(SECRET, 11 + 16 * pair),
            lanes[2 * pair + 1] ^ word64(SECRET, 11 + 16 * pair + 8),
        )
    return avalanche(value & MASK64)


def hash64(data: bytes) -> int:
    size = len(data)
    if size == 0:
        return xxh64_avalanche(word64(SECRET, 56) ^ word64(SECRET, 64))
    for limit, method in ((3, up_to_3), (8, up_to_8), (16, up_to_16), (128, up_to_128), (240, up_to_240)):
        if size <= limit:
            return method(data)
    return longer(data)
