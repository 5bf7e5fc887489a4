# cython: cdivision=True
"""What is asked for: which verb, which key, how long a value; and the bytes of the request.

Everything that a reply can be checked against follows from the key's number alone: its name, the length of
its value and the value's bytes. So any client can check any other client's value, and nothing is remembered
about what was written.

    key 7, prefix "bench-", 12 bytes ─▶ bench-000007          its counter for incr ─▶ bench-000007n
"""

cimport cython
from libc.math cimport cos, exp, log, pow, sqrt
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memcpy

VERBS = ("get", "gets", "set", "delete", "incr", "touch")


cdef inline uint8_t *put_text(uint8_t *at, const char *text, size_t length) noexcept nogil:
    memcpy(at, text, length)
    return at + length


cdef inline uint8_t *put_number(uint8_t *at, uint32_t number) noexcept nogil:
    cdef uint8_t backwards[10]
    cdef int n = 0
    while True:
        backwards[n] = 48 + number % 10
        n += 1
        number //= 10
        if number == 0:
            break
    while n:
        n -= 1
        at[0] = backwards[n]
        at += 1
    return at


@cython.final
cdef class Workload:
    def __cinit__(
        self, *, mix, keys, key_prefix, key_bytes, value_bytes, value_bytes_max=0, value_shape="fixed",
        multiget=1, zipf=0.0, seed=1,
    ):
        """`value_shape`: "fixed", "range" (uniform from value_bytes to value_bytes_max) or "lognormal"
        (median value_bytes, cut at value_bytes_max). `Job` checks arguments for people, the asserts guard
        memory."""
        cdef uint32_t i
        assert 1 <= keys <= 100_000_000
        assert key_bytes < KEY_BYTES_MAX and len(str(keys - 1)) <= key_bytes - len(key_prefix) <= 20
        self.random_state = <uint64_t>seed * 2 + 1
        self.keys = keys
        self.width = multiget
        self.prefix_bytes = len(key_prefix)
        self.digits = key_bytes - len(key_prefix)
        prefix = bytes(key_prefix)
        memcpy(self.prefix, <const char *>prefix, self.prefix_bytes)
        self._fill_mix(mix)
        self._fill_sizes(value_shape, value_bytes, max(value_bytes, value_bytes_max))
        self.pattern = <uint8_t *>malloc(self.largest_value_bytes + PATTERN_SHIFTS)
        if self.pattern == NULL:
            raise MemoryError
        for i in range(self.largest_value_bytes + PATTERN_SHIFTS):
            self.pattern[i] = 97 + self.draw() % 26
        if zipf > 0.0:
            self._fill_alias(zipf)

    def __dealloc__(self):
        free(self.alias_share)
        free(self.alias_other)
        free(self.sizes)
        free(self.pattern)

    def _fill_mix(self, mix):
        total = sum(mix.values())
        assert total > 0 and all(verb in VERBS for verb in mix)
        slots = []
        shares = sorted(mix.items(), key=lambda item: item[1])
        for verb, share in shares:
            if share:
                slots += [VERBS.index(verb)] * max(1, round(1024 * share / total))
        # The largest share stands last and takes what rounding left over.
        slots = (slots + [slots[-1]] * 1024)[:1024]
        for i, verb in enumerate(slots):
            self.mix[i] = verb
        self.uses_counters = mix.get("incr", 0) > 0

    def _fill_sizes(self, shape, low, high):
        cdef uint32_t i
        cdef double a, b, size, median = low, top = high
        cdef uint32_t least = low, most = high
        cdef bint lognormal = shape == "lognormal"
        self.fixed_bytes = low
        self.largest_value_bytes = low if shape == "fixed" else high
        if shape == "fixed":
            return
        self.sizes = <uint32_t *>malloc(self.keys * sizeof(uint32_t))
        if self.sizes == NULL:
            raise MemoryError
        for i in range(self.keys):
            if lognormal:
                # Box and Muller: two uniform draws make a normal one; its 99th percentile is 10 medians.
                a = (<double>(self.draw() >> 11) + 1.0) / 9007199254740993.0
                b = <double>(self.draw() >> 11) / 9007199254740992.0
                size = median * exp(sqrt(-2.0 * log(a)) * cos(6.283185307179586 * b))
                self.sizes[i] = <uint32_t>max(1.0, min(size, top))
            else:
                self.sizes[i] = least + <uint32_t>(self.draw() % (most - least + 1))

    def _fill_alias(self, double exponent):
        cdef uint32_t n = self.keys, i, small_count = 0, large_count = 0, s, g
        cdef double total = 0.0
        cdef uint32_t *small = NULL
        cdef uint32_t *large = NULL
        self.alias_share = <double *>malloc(n * sizeof(double))
        self.alias_other = <uint32_t *>malloc(n * sizeof(uint32_t))
        small = <uint32_t *>malloc(n * sizeof(uint32_t))
        large = <uint32_t *>malloc(n * sizeof(uint32_t))
        try:
            if self.alias_share == NULL or self.alias_other == NULL or small == NULL or large == NULL:
                raise MemoryError
            for i in range(n):
                self.alias_share[i] = pow(i + 1.0, -exponent)
                self.alias_other[i] = i
                total += self.alias_share[i]
            for i in range(n):
                self.alias_share[i] *= n / total
                if self.alias_share[i] < 1.0:
                    small[small_count] = i
                    small_count += 1
                else:
                    large[large_count] = i
                    large_count += 1
            while small_count and large_count:
                small_count -= 1
                s = small[small_count]
                g = large[large_count - 1]
                self.alias_other[s] = g
                self.alias_share[g] -= 1.0 - self.alias_share[s]
                if self.alias_share[g] < 1.0:
                    large_count -= 1
                    small[small_count] = g
                    small_count += 1
            # What is left is 1 up to rounding.
            while large_count:
                large_count -= 1
                self.alias_share[large[large_count]] = 1.0
            while small_count:
                small_count -= 1
                self.alias_share[small[small_count]] = 1.0
            self.zipf = True
        finally:
            free(small)
            free(large)

    cdef uint64_t draw(self) noexcept nogil:
        # splitmix64: one addition of state, good enough to choose keys by
        cdef uint64_t z
        self.random_state += 0x9E3779B97F4A7C15ULL
        z = self.random_state
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL
        return z ^ (z >> 31)

    cdef int draw_verb(self) noexcept nogil:
        return self.mix[self.draw() & 1023]

    cdef uint32_t draw_key(self) noexcept nogil:
        cdef uint64_t r = self.draw()
        cdef uint32_t key = <uint32_t>(((r >> 32) * self.keys) >> 32)
        if self.zipf and <double><uint32_t>r / 4294967296.0 >= self.alias_share[key]:
            return self.alias_other[key]
        return key

    cdef uint32_t value_bytes(self, uint32_t key) noexcept nogil:
        return self.fixed_bytes if self.sizes == NULL else self.sizes[key]

    cdef const uint8_t *value(self, uint32_t key) noexcept nogil:
        return self.pattern + key % PATTERN_SHIFTS

    cdef uint8_t *put_key(self, uint8_t *at, uint32_t key, bint counter) noexcept nogil:
        cdef int i = <int>self.digits
        memcpy(at, self.prefix, self.prefix_bytes)
        at += self.prefix_bytes
        while i:
            i -= 1
            at[i] = 48 + key % 10
            key //= 10
        at += self.digits
        if counter:
            at[0] = c'n'
            at += 1
        return at

    cdef int64_t key_of(self, const uint8_t *text, size_t length) noexcept nogil:
        """The number of the value key with this name; -1 for any other name."""
        cdef uint64_t number = 0
        cdef uint32_t i
        cdef uint8_t digit
        if length != self.prefix_bytes + self.digits or memcmp(text, self.prefix, self.prefix_bytes) != 0:
            return -1
        text += self.prefix_bytes
        for i in range(self.digits):
            digit = text[i] - 48
            if digit > 9:
                return -1
            number = number * 10 + digit
        return <int64_t>number if number < self.keys else -1

    cdef size_t request_bytes_max(self, int verb) noexcept nogil:
        cdef size_t size = 64 + self.prefix_bytes + self.digits
        if verb == GET or verb == GETS:
            return size + <size_t>self.width * (self.prefix_bytes + self.digits + 1)
        if verb == SET:
            return size + self.largest_value_bytes
        return size

    cdef uint8_t *put_request(self, uint8_t *at, int verb, const uint32_t *keys, bint preload) noexcept nogil:
        """In a preload, a key number from `keys` up is the counter of key number - keys."""
        cdef uint32_t i, length, key = keys[0]
        if verb == GET or verb == GETS:
            at = put_text(at, "get", 3) if verb == GET else put_text(at, "gets", 4)
            for i in range(self.width):
                at[0] = c' '
                at = self.put_key(at + 1, keys[i], False)
            return put_text(at, "\r\n", 2)
        if verb == SET:
            at = put_text(at, "set ", 4)
            if preload and key >= self.keys:
                at = self.put_key(at, key - self.keys, True)
                return put_text(at, " 0 0 1\r\n0\r\n", 11)
            at = self.put_key(at, key, False)
            length = self.value_bytes(key)
            at = put_number(put_text(at, " 0 0 ", 5), length)
            at = put_text(at, "\r\n", 2)
            memcpy(at, self.value(key), length)
            return put_text(at + length, "\r\n", 2)
        if verb == DELETE:
            return put_text(self.put_key(put_text(at, "delete ", 7), key, False), "\r\n", 2)
        if verb == INCR:
            return put_text(self.put_key(put_text(at, "incr ", 5), key, True), " 1\r\n", 4)
        return put_text(self.put_key(put_text(at, "touch ", 6), key, False), " 0\r\n", 4)

    def request(self, verb, keys):
        """One request's bytes; for tests and for showing what is sent."""
        cdef uint32_t *numbers
        cdef uint8_t *buffer
        cdef uint8_t *end
        code = VERBS.index(verb)
        if code not in (GET, GETS) and len(keys) != 1:
            raise ValueError(f"{verb} takes one key")
        if code in (GET, GETS) and <uint32_t>len(keys) != self.width:
            raise ValueError(f"this workload asks for {self.width} keys at a time")
        numbers = <uint32_t *>malloc(len(keys) * sizeof(uint32_t))
        buffer = <uint8_t *>malloc(self.request_bytes_max(code))
        try:
            if numbers == NULL or buffer == NULL:
                raise MemoryError
            for i, key in enumerate(keys):
                if not 0 <= key < self.keys:
                    raise ValueError(f"keys are numbered 0-{self.keys - 1}")
                numbers[i] = key
            end = self.put_request(buffer, code, numbers, False)
            return (<char *>buffer)[:end - buffer]
        finally:
            free(numbers)
            free(buffer)

    def value_of(self, uint32_t key):
        if key >= self.keys:
            raise ValueError(f"keys are numbered 0-{self.keys - 1}")
        return (<const char *>self.value(key))[:self.value_bytes(key)]

    def sample(self, int draws):
        """(verb, key) as they would be drawn."""
        return [(VERBS[self.draw_verb()], self.draw_key()) for _ in range(draws)]

    def number_of(self, bytes name):
        return self.key_of(<const uint8_t *><const char *>name, len(name))
