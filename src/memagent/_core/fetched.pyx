"""The line before an item's value, as servers answer mg and gets.

    VA <bytes> <flag>*\\r\\n             k<key> [b], f<flags>, t<seconds, or -1>, c<cas>, O<opaque>, X stale, W won
    VALUE <key> <flags> <bytes> <cas>\\r\\n

What a server cannot say is a ProtocolError: after it no reply of that connection can be trusted.
"""

from libc.string cimport memchr

from memagent._core.limits cimport MAX_REPLY_BYTES, MAX_REPLY_LINE_BYTES

from memagent.errors import ProtocolError


cdef str shown(const unsigned char *p, size_t n):
    """For an error message."""
    return p[:min(n, <size_t> 60)].decode("ascii", "backslashreplace")


cdef size_t reply_line(const unsigned char *p, size_t n, size_t *length) except? 0:
    """Behind the line at p, 0 if its end has not come; its length without its end."""
    cdef const unsigned char *newline
    newline = <const unsigned char *> memchr(p, 10, min(n, <size_t> MAX_REPLY_LINE_BYTES))
    if newline == NULL:
        if n >= MAX_REPLY_LINE_BYTES:
            raise ProtocolError("a reply line without an end")
        return 0
    length[0] = newline - p
    if length[0] == 0 or p[length[0] - 1] != 13:
        raise ProtocolError("a reply line that does not end with CR LF")
    length[0] -= 1
    return newline - p + 1


cdef const unsigned char *take_number(
    const unsigned char *p, const unsigned char *end, uint64_t *number
) noexcept:
    """Behind the digits at p, 20 at most; NULL where there are none."""
    cdef const unsigned char *at = p
    number[0] = 0
    while at < end and 48 <= at[0] <= 57 and at - p < 20:
        number[0] = number[0] * 10 + (at[0] - 48)
        at += 1
    return at if at > p else NULL


cdef bint is_refusal(const unsigned char *p, size_t n) noexcept:
    """An error that leaves the connection in order: a bad data chunk does not."""
    if starts(p, n, b"CLIENT_ERROR", 12):
        return not starts(p, n, b"CLIENT_ERROR bad data chunk", 27)
    return starts(p, n, b"SERVER_ERROR", 12)


cdef int read_mg(const unsigned char *p, size_t n, Fetched *item) except -1:
    """The line without its end; flags, time and cas must have been asked for."""
    cdef const unsigned char *end = p + n
    cdef const unsigned char *at = NULL
    cdef const unsigned char *word
    cdef uint64_t number = 0
    cdef bint has_flags = False, has_ttl = False, has_cas = False
    item[0] = Fetched(NULL, 0, False, 0, 0, 0, 0, -1, False, False)
    if starts(p, n, b"VA ", 3):
        at = take_number(p + 3, end, &item.length)
    if at == NULL:
        raise ProtocolError(f"a reply that does not belong to the request: {shown(p, n)}")
    if item.length > MAX_REPLY_BYTES:
        raise ProtocolError("a value of more than 128 MiB")
    while at < end:
        if at[0] != 32 or at + 1 == end or at[1] == 32:
            raise ProtocolError(f"flags that make no sense: {shown(p, n)}")
        word = at + 1
        at = word
        while at < end and at[0] != 32:
            at += 1
        if word[0] == 107:  # k
            item.key = word + 1
            item.key_length = at - item.key
        elif word[0] == 98:  # b
            item.is_binary = True
        elif word[0] == 102:  # f
            has_flags = take_number(word + 1, at, &item.flags) == at
        elif word[0] == 99:  # c
            has_cas = take_number(word + 1, at, &item.cas) == at
        elif word[0] == 116:  # t
            if at - word == 3 and word[1] == 45 and word[2] == 49:
                item.ttl_s = FETCHED_FOREVER
                has_ttl = True
            else:
                has_ttl = take_number(word + 1, at, &number) == at
                # A time that has just run out comes as a very large number.
                item.ttl_s = <int64_t> number if number <= 0x7fffffff else 0
        elif word[0] == 79:  # O
            if take_number(word + 1, at, &number) == at and number <= 0x7fffffff:
                item.opaque = <int64_t> number
        elif word[0] == 88:  # X
            item.is_stale = True
        elif word[0] == 87:  # W
            item.won = True
    if not (has_flags and has_ttl and has_cas):
        raise ProtocolError(f"a value without flags, time or cas: {shown(p, n)}")
    return 0


cdef int read_gets(const unsigned char *p, size_t n, Fetched *item) except -1:
    """The line without its end."""
    cdef const unsigned char *end = p + n
    cdef const unsigned char *at = NULL
    item[0] = Fetched(NULL, 0, False, 0, 0, 0, 0, -1, False, False)
    if not starts(p, n, b"VALUE ", 6):
        raise ProtocolError(f"a reply that does not belong to the request: {shown(p, n)}")
    item.key = p + 6
    at = <const unsigned char *> memchr(item.key, 32, end - item.key)
    if at != NULL:
        item.key_length = at - item.key
        at = take_number(at + 1, end, &item.flags)
    if at != NULL and at < end and at[0] == 32:
        at = take_number(at + 1, end, &item.length)
    else:
        at = NULL
    if at != NULL and at < end:
        at = take_number(at + 1, end, &item.cas) if at[0] == 32 else NULL
    if at != end:
        raise ProtocolError(f"a VALUE line that makes no sense: {shown(p, n)}")
    if item.length > MAX_REPLY_BYTES:
        raise ProtocolError("a value of more than 128 MiB")
    return 0


def read_item(bytes line not None, bint meta=True):
    """The Python face, for tests: what the line says."""
    cdef Fetched item
    if meta:
        read_mg(line, len(line), &item)
    else:
        read_gets(line, len(line), &item)
    return {
        "key": item.key[:item.key_length] if item.key != NULL else None,
        "is_binary": item.is_binary,
        "length": item.length,
        "flags": item.flags,
        "cas": item.cas,
        "ttl_s": item.ttl_s,
        "opaque": item.opaque,
        "is_stale": item.is_stale,
        "won": item.won,
    }
