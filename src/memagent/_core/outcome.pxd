"""What a server's answer to a mutation means. Inline, as each reply passes here: there is no module to import."""

from memagent._core.metrics cimport Block
from memagent._core.reply cimport (
    E_DELETE,
    E_NUMBER,
    E_STORAGE,
    E_TOUCH,
    R_DELETED,
    R_EX,
    R_EXISTS,
    R_HD,
    R_NF,
    R_NOT_FOUND,
    R_NOT_STORED,
    R_NS,
    R_NUMBER,
    R_STORED,
    R_TOUCHED,
    R_VA,
    Code,
)
from memagent._core.request cimport V_CAS, V_DECR, V_DELETE, Verb


cdef inline int expects(Verb verb) noexcept:
    """What a reply to this classic verb looks like."""
    if verb <= V_CAS:
        return E_STORAGE
    if verb <= V_DECR:
        return E_NUMBER
    return E_DELETE if verb == V_DELETE else E_TOUCH


cdef inline bint is_done(Code code) noexcept:
    """Has the server done what it was asked for?"""
    return code == R_STORED or code == R_NUMBER or code == R_TOUCHED or code == R_DELETED


cdef inline Code classic(Code code, Verb kind) noexcept:
    """A meta reply's code as that of the classic verb `kind`."""
    if code == R_HD or code == R_VA:
        if kind <= V_CAS:
            return R_STORED
        return R_DELETED if kind == V_DELETE else R_NUMBER
    if code == R_NS:
        return R_NOT_STORED
    if code == R_EX:
        return R_EXISTS
    return R_NOT_FOUND if code == R_NF else code


cdef inline bytes words_of(Code code):
    """How a classic client is told; None: as the server has said it."""
    if code == R_STORED:
        return b"STORED\r\n"
    if code == R_NOT_STORED:
        return b"NOT_STORED\r\n"
    if code == R_EXISTS:
        return b"EXISTS\r\n"
    return b"NOT_FOUND\r\n" if code == R_NOT_FOUND else None


cdef inline void tally(Block counters, Code code, Code hit, int hits, int misses) noexcept:
    if code == hit:
        counters.slot[hits] += 1
    elif code == R_NOT_FOUND:
        counters.slot[misses] += 1
