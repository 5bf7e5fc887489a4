# cython: cdivision=True
"""Putting a line of text together: each function gives where the next one goes on."""

from libc.stdint cimport uint64_t
from libc.string cimport memcpy

cdef extern from *:
    """
    static const char memagent_pairs[] =
        "0001020304050607080910111213141516171819202122232425262728293031323334353637383940414243444546474849"
        "5051525354555657585960616263646566676869707172737475767778798081828384858687888990919293949596979899";
    """
    const char *memagent_pairs


cdef inline unsigned char *put(unsigned char *at, const unsigned char *text, size_t length) noexcept:
    memcpy(at, text, length)
    return at + length


cdef inline unsigned char *put_number(unsigned char *at, uint64_t number) noexcept:
    """In decimal digits, two at a time: a cas unique has twenty."""
    cdef unsigned char digits[20]
    cdef uint64_t rest
    cdef int n = 20
    while number >= 100:
        rest = number // 100
        n -= 2
        memcpy(&digits[n], memagent_pairs + 2 * (number - 100 * rest), 2)
        number = rest
    if number >= 10:
        n -= 2
        memcpy(&digits[n], memagent_pairs + 2 * number, 2)
    else:
        n -= 1
        digits[n] = <unsigned char> (48 + number)
    return put(at, &digits[n], 20 - n)
