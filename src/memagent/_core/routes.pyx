"""Which pool a key belongs to: the longest prefix decides.

    prefixes, sorted     key "user:x" sorts behind "user:eu:", which it does not begin with;
    ""                   the next shorter one that "user:eu:" begins with is "user:", and that fits
    "user:"     ◀──┐
    "user:eu:"  ───┘ shorter
    "v:"

Invariants:
- Every prefix that a key begins with is, or is a beginning of, the last one that does not sort behind the key. So a
  search by halves and a walk over ever shorter ones is enough: no loop over all.
- Where all keys go to one pool as they are, `only` is that pool, and nobody looks at a key.
- It lives on as long as its listener, and is told anew what holds: requests under way have got their pool already.
"""

cimport cython
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp

from memagent._core.pool cimport Pool
from memagent._core.request cimport V_GATS, RequestParser


@cython.final
cdef class Route:
    def __cinit__(self, bytes prefix not None, Pool pool not None, *, bint strip=False):
        self.prefix = prefix
        self.pool = pool
        self.strip = strip and prefix


@cython.final
cdef class Routes:
    """Of one listener. ValueError where two routes have one prefix."""

    def __cinit__(self, list routes not None):
        self.configure(routes)

    def __dealloc__(self):
        free(self.entries)

    def configure(self, list routes not None):
        """What holds from now on: not from inside a request."""
        cdef Route route
        cdef dict by_prefix = {(<Route?> each).prefix: each for each in routes}
        cdef Entry *entries
        cdef int i
        if len(by_prefix) < len(routes):
            raise ValueError("two routes have one prefix")
        entries = <Entry *> malloc((len(routes) + 1) * sizeof(Entry))
        if entries == NULL:
            raise MemoryError
        free(self.entries)
        self.entries = entries
        self.routes = [by_prefix[prefix] for prefix in sorted(by_prefix)]
        self.n_entries = <int> len(routes)
        self.pools = list(dict.fromkeys([(<Route> each).pool for each in routes]))
        self.only = None
        if len(self.pools) == 1 and b"" in by_prefix and not any([(<Route> each).strip for each in routes]):
            self.only = self.pools[0]
        for i, route in enumerate(self.routes):
            entries[i].text = route.prefix
            entries[i].length = len(route.prefix)
            entries[i].shorter = i - 1
            while entries[i].shorter >= 0 and not route.prefix.startswith((<Route> self.routes[entries[i].shorter]).prefix):
                entries[i].shorter = entries[entries[i].shorter].shorter

    cdef Route find(self, const unsigned char *key, size_t length):
        """None: no route takes the key."""
        cdef int low = 0
        cdef int high = self.n_entries
        cdef int middle, order
        cdef Entry *entry
        while low < high:
            middle = (low + high) // 2
            entry = &self.entries[middle]
            order = memcmp(entry.text, key, min(entry.length, length))
            if order < 0 or (order == 0 and entry.length <= length):
                low = middle + 1
            else:
                high = middle
        low -= 1
        while low >= 0:
            entry = &self.entries[low]
            if entry.length <= length and memcmp(entry.text, key, entry.length) == 0:
                return <Route> self.routes[low]
            low = entry.shorter
        return None

    cdef Route common(self, RequestParser request, const unsigned char *p):
        """The route of all keys of the request at p; None: there are several, or a key has none."""
        cdef Route route, first = None
        cdef size_t length = 0
        cdef size_t i
        cdef const unsigned char *key
        if request.verb > V_GATS:
            key = request.stored_key(p, &length)
            return self.find(key, length)
        for i in range(request.n_keys):
            route = self.find(p + request.keys[i].start, request.keys[i].length)
            if route is None or (i and route is not first):
                return None
            first = route
        return first

    def of(self, bytes key not None):
        """The route of a key, None: none takes it."""
        return self.find(key, len(key))
