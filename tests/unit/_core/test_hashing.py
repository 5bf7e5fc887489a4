"""Key hashes: known answers first, then every length against the plain twin."""

import hashlib
import zlib

import pytest

from memagent._core import md5, xxh3
from memagent._core.hashing import KEY_HASHES, key_hash
from memagent.errors import ConfigError
from tests.reference import hashing as plain
from tests.reference import xxh3 as plain_xxh3

# What libmemcached and twemproxy publish for the key "apple"; murmur3 and xxh3 as their own programs answer.
APPLE = {
    "one_at_a_time": 2297466611,
    "md5": 3195025439,
    "crc16": 3662830516,
    "crc32": 10542,
    "crc32a": 2838417488,
    "fnv1_64": 473199127,
    "fnv1a_64": 1488911807,
    "fnv1_32": 67176023,
    "fnv1a_32": 280767167,
    "hsieh": 3738850110,
    "murmur": 4142305122,
    "murmur3": 1120212521,
    "jenkins": 1442444624,
    "xxh3": 3474950656,
}

# XXH3 (64 bits, seed 0) of bytes 0, 1, 2 ... (up to 250, then from 0 again), as the xxhash package answers.
XXH3_BY_LENGTH = {
    0: 0x2D06800538D394C2,
    1: 0xC44BDFF4074EECDB,
    2: 0xD6645FC3051A9457,
    3: 0x5F4299FC161C9CBB,
    4: 0x60DAB036A58211F2,
    7: 0x0CD2084A62406B69,
    8: 0x3A1C2D7C85AF88F8,
    9: 0xE9612598145BB9DC,
    15: 0x55ECEDC2B87BB042,
    16: 0x8355E3A6F61770DB,
    17: 0x9EF341A99DE37328,
    32: 0x3523581FE96E4C05,
    33: 0xE68C56BA88991E58,
    64: 0x6187EB9089B0ED55,
    65: 0x6928C76CE90422D0,
    96: 0x278A3E12EA046DFB,
    97: 0xE7220282DC4E14F4,
    128: 0x85C6174C7FF4C46B,
    129: 0xEC7642B431BA3E5A,
    191: 0x9B49B643C8FC32D5,
    240: 0x375A384D957FE865,
    241: 0x02E8CD95421C6D02,
    250: 0x3A07E271A5DAB0A3,
    256: 0x44F5D90DACDE463A,
    512: 0x5C021AAC13954143,
    1023: 0xD3D91D80AC495685,
    1024: 0xE5D78BAFA45B2AA5,
    1025: 0xE95C42288F28186E,
    1089: 0xA51E35EC282CB1D8,
    3000: 0x1B846747012C24AA,
}

# libmemcached's own answers for "apfelmüß" in Latin-1.
NOT_ASCII = {
    "one_at_a_time": 349793030,
    "md5": 3223787805,
    "crc32": 1518,
    "fnv1_64": 1356128503,
    "fnv1a_64": 3545395507,
    "fnv1_32": 1520829623,
    "fnv1a_32": 679544627,
    "murmur": 265296232,
    "murmur3": 3605048651,
    "jenkins": 2393852937,
}

SAMPLES = [bytes((7 * length + 31 * i) % 256 for i in range(length)) for length in range(300)]


def test_every_hash_has_a_plain_twin() -> None:
    assert set(KEY_HASHES) == set(plain.KEY_HASHES)


@pytest.mark.parametrize(("name", "expected"), APPLE.items())
def test_published_values(name: str, expected: int) -> None:
    assert key_hash(name, b"apple") == expected


def test_djb_is_magents() -> None:
    assert key_hash("djb", b"") == 5381
    assert key_hash("djb", b"a") == 5381 * 33 + 97
    assert key_hash("djb", b"\xff") == 5381 * 33 - 1
    assert all(key_hash("djb", sample) < 1 << 31 for sample in SAMPLES)


@pytest.mark.parametrize("sample", SAMPLES[::7] + SAMPLES[50:70] + SAMPLES[112:130], ids=len)
def test_md5_and_crc_are_the_librarys(sample: bytes) -> None:
    assert md5.digest(sample) == hashlib.md5(sample).digest()
    assert key_hash("md5", sample) == int.from_bytes(hashlib.md5(sample).digest()[:4], "little")
    assert key_hash("crc32a", sample) == zlib.crc32(sample)
    assert key_hash("crc32", sample) == zlib.crc32(sample) >> 16 & 0x7FFF


@pytest.mark.parametrize(("length", "expected"), XXH3_BY_LENGTH.items())
def test_xxh3_of_every_method(length: int, expected: int) -> None:
    data = bytes(i % 251 for i in range(length))
    assert xxh3.digest64(data) == expected
    assert plain_xxh3.hash64(data) == expected
    assert key_hash("xxh3", data) == expected & 0xFFFFFFFF


@pytest.mark.parametrize("name", KEY_HASHES)
def test_every_length_agrees_with_the_twin(name: str) -> None:
    for sample in SAMPLES:
        assert key_hash(name, sample) == plain.KEY_HASHES[name](sample), sample


@pytest.mark.parametrize(("name", "expected"), NOT_ASCII.items())
def test_bytes_above_127_are_negative(name: str, expected: int) -> None:
    assert key_hash(name, "apfelmüß".encode("latin-1")) == expected


def test_unknown_name_says_what_is_allowed() -> None:
    with pytest.raises(ConfigError, match='key_hash "md6" is not known') as caught:
        key_hash("md6", b"key")
    assert caught.value.hint is not None
    assert all(name in caught.value.hint for name in KEY_HASHES)
