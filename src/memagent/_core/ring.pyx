# cython: cdivision=True
"""Where a key lives.

    key ──hash tag──▶ part that counts ──key hash──▶ number ──┬──▶ ring of `servers` ──▶ owner
                                                              └──▶ ring of `backups` ──▶ copy
                                                    (no backups, copies: 2: the next server of the first ring)

    ketama, consistent, magent-ketama: points on a circle; the first one at or after the number decides

        first   │ 0 │ 2 │ 2 │ 5 │ ...     the number's upper bits lead to the few points to search among
                  │   └─┬─┘   └──────────────────┐
        points  │ 07 a │ 3c b │ 8e a │ 91 c │ b0 b │ ...      sorted by (value, server)

    modula, jump: slots in a row; a server has as many as its weight
    rendezvous: every server scores against the number; the highest wins

While keys move from former rings to these (a migration; only without copies), a key that changes servers has two:

    same server in both ──▶ it alone           else ──▶ first the former one, beside it the new one
                                               settles: first the new one,   beside it the former one

A server comes as (name, host, port, weight). Its name goes on the ring as it is; an empty name stands for the
one that the distribution makes from the address: see `ring_name`, and magent's `host-port`.

Invariants: a lookup allocates nothing, needs no GIL and cannot fail; a Placement never changes, a new
configuration is a new one; a copy in `servers` is never the owner.

What the others do, and so do we:

- modula: twemproxy sorts its servers by their names, the shorter before the longer; libmemcached and magent,
  which know no names, keep the list's order. So here: where every server of a list is named, names decide,
  else the order of the list.
- consistent: a weight other than 1 turns libmemcached's ring into its weighted one (ketama's, same key hash).
- Of points with one value the server that stands earlier in the list has the first.

The second copy is on the next server, other than the owner: of the circle's next points (where weights leave
the others without any, of the list); of the next slots; with rendezvous, the one with the second-best score.
Behind the last comes the first.
"""

cimport cython
from libc.math cimport floorf, log
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, qsort
from libc.string cimport memchr, memset

from memagent._core.hashing cimport KeyHash, djb, find_key_hash
from memagent._core.md5 cimport md5_first_words, md5_words
from memagent._core.xxh3 cimport xxh3_64
from memagent.errors import ConfigError

cdef dict BY_NAME = {
    "modula": MODULA,
    "ketama": KETAMA,
    "consistent": CONSISTENT,
    "magent-ketama": MAGENT_KETAMA,
    "jump": JUMP,
    "rendezvous": RENDEZVOUS,
}
DISTRIBUTIONS = tuple(BY_NAME)

cdef enum:
    KETAMA_POINTS = 160
    POINTS_PER_DIGEST = 4
    CONSISTENT_POINTS = 100
    MAGENT_DIGESTS = 500
    DEFAULT_PORT = 11211
    AT_ONCE = 8  # as many as md5 takes together

cdef int NOBODY = -1
# Slots and float32 shares both count in 32 bits.
cdef object MOST_WEIGHT = 0x7fffffff


def ring_name(host: str, port: int) -> str:
    """What libmemcached and twemproxy put on the ring for an address; port 0: a socket, host its path."""
    return host if port in (0, DEFAULT_PORT) else f"{host}:{port}"


cdef str magent_name(str host, int port):
    return f"{host}-{port}" if port else host


cdef void *allocated(size_t count, size_t size) except NULL:
    cdef void *memory = malloc((count or 1) * size)
    if memory == NULL:
        raise MemoryError
    return memory


cdef int compare_points(const void *left, const void *right) noexcept nogil:
    cdef const Point *a = <const Point *>left
    cdef const Point *b = <const Point *>right
    if a.value != b.value:
        return 1 if a.value > b.value else -1
    return (a.server > b.server) - (a.server < b.server)


cdef uint32_t jump(uint64_t key, uint32_t slots) noexcept nogil:
    """Lamping and Veach's jump consistent hash."""
    cdef int64_t chosen = 0, candidate = 0
    while candidate < slots:
        chosen = candidate
        key = key * 2862933555777941757U + 1
        candidate = <int64_t>(<double>(chosen + 1) * (2147483648.0 / <double>((key >> 33) + 1)))
    return <uint32_t>chosen


cdef uint64_t contest(uint64_t seed, uint32_t key_hash) noexcept nogil:
    """53 well-mixed bits out of a server's seed and a key's hash."""
    cdef uint64_t value = seed ^ key_hash * 0x9e3779b97f4a7c15U
    value = (value ^ value >> 33) * 0xff51afd7ed558ccdU
    value = (value ^ value >> 33) * 0xc4ceb9fe1a85ec53U
    return (value ^ value >> 33) >> 11


cdef list checked_servers(str what, object servers):
    cdef list checked = []
    cdef object total = 0
    for name, host, port, weight in servers:
        if weight < 1:
            raise ConfigError(f'{what}: "{name or host}" has weight {weight}', "a weight is 1 or more")
        total += weight
        checked.append((name, host, port, weight))
    if total > MOST_WEIGHT:
        raise ConfigError(
            f"{what}: the weights add up to {total}",
            f"at most {MOST_WEIGHT}; only their ratio counts: divide them all",
        )
    return checked


cdef Ring new_ring(str what, list servers, Distribution distribution, KeyHash key_hash):
    cdef Ring ring = Ring.__new__(Ring)
    cdef bint weighted = any(weight != 1 for _, _, _, weight in servers)
    cdef list names = [
        name or (magent_name(host, port) if distribution == MAGENT_KETAMA else ring_name(host, port))
        for name, host, port, _ in servers
    ]
    if distribution == CONSISTENT and weighted:
        distribution = KETAMA
    if distribution == MAGENT_KETAMA and weighted:
        raise ConfigError(f"{what}: magent-ketama knows no weights", "leave them out, or use ketama")
    if distribution not in (MODULA, JUMP):
        for place, name in enumerate(sorted(names)):
            if place and name == previous:
                raise ConfigError(
                    f'{what}: "{name}" stands on the ring twice', "give each server a name of its own"
                )
            previous = name

    ring.count = <int>len(servers)
    ring.distribution = distribution
    if distribution in (KETAMA, CONSISTENT, MAGENT_KETAMA):
        ring.lay_points(servers, names, key_hash)
        ring.sort_points()
    if distribution in (MODULA, MAGENT_KETAMA, JUMP):
        ring.lay_slots(servers)
    if distribution == RENDEZVOUS:
        ring.lay_contenders(servers, names)
    return ring


@cython.final
cdef class Ring:
    """One list of servers under one distribution."""

    def __dealloc__(self):
        free(self.points)
        free(self.first)
        free(self.order)
        free(self.slot_ends)
        free(self.contenders)

    cdef int find(self, uint32_t key_hash, const unsigned char *key, size_t length, int taken) noexcept nogil:
        """The server for a key, or the next that is not `taken`; the list must then have two."""
        if self.distribution == MODULA:
            return self.from_slot(key_hash % self.slot_count, taken)
        if self.distribution == JUMP:
            return self.from_slot(jump(key_hash, self.slot_count), taken)
        if self.distribution == RENDEZVOUS:
            return self.best_contender(key_hash, taken)
        if self.distribution == MAGENT_KETAMA and key_hash == 0:
            return self.from_slot(djb(key, length) % self.slot_count, taken)
        return self.from_point(key_hash, taken)

    cdef int from_point(self, uint32_t key_hash, int taken) noexcept nogil:
        # Without `first` this search took 29 ns among 480 points and 64 ns among 32,000; with it 7 and 9.
        cdef uint32_t bucket = key_hash >> self.shift
        cdef uint32_t low = self.first[bucket], high = self.first[bucket + 1], middle, _step
        while low < high:
            middle = low + (high - low) // 2
            if self.points[middle].value < key_hash:
                low = middle + 1
            else:
                high = middle
        for _step in range(self.point_count):
            if low == self.point_count:
                low = 0
            if <int>self.points[low].server != taken:
                return <int>self.points[low].server
            low += 1
        # Beside very heavy servers a light one gets no point at all.
        return (taken + 1) % self.count

    cdef int from_slot(self, uint32_t slot, int taken) noexcept nogil:
        cdef int low = 0, high = self.count - 1, middle
        if self.slot_count == <uint32_t>self.count:
            low = <int>slot
        else:
            while low < high:
                middle = low + (high - low) // 2
                if self.slot_ends[middle] <= slot:
                    low = middle + 1
                else:
                    high = middle
        if self.order[low] == taken:
            low = low + 1 if low + 1 < self.count else 0
        return self.order[low]

    cdef int best_contender(self, uint32_t key_hash, int taken) noexcept nogil:
        # A draw u in (0, 1) scores -weight / ln u. That grows with u: among equal weights the draws will do.
        cdef int best = NOBODY, server
        cdef double best_score = 0, score
        for server in range(self.count):
            if server == taken:
                continue
            score = <double>contest(self.contenders[server].seed, key_hash)
            if not self.equal_weights:
                score = -self.contenders[server].weight / log((score + 0.5) / 9007199254740992.0)
            if best == NOBODY or score > best_score:
                best = server
                best_score = score
        return best

    cdef int lay_points(self, list servers, list names, KeyHash key_hash) except -1:
        cdef list digests = []
        cdef uint32_t words[POINTS_PER_DIGEST]
        cdef uint32_t total = 0, next_point = 0
        cdef int server, number, word
        cdef float share, points, count = self.count, ketama_points = KETAMA_POINTS
        cdef bytes label
        for _, _, _, weight in servers:
            total += weight
        for _, _, _, weight in servers:
            if self.distribution == KETAMA:
                # In float32, one rounding a step, as libmemcached does. The 1e-10 that it adds never matters.
                share = <float>(<uint32_t>weight) / <float>total
                points = share * ketama_points
                points = points / POINTS_PER_DIGEST
                points = points * count
                digests.append(<int>floorf(points))
            else:
                digests.append(CONSISTENT_POINTS if self.distribution == CONSISTENT else MAGENT_DIGESTS)
        self.point_count = sum(digests) * (1 if self.distribution == CONSISTENT else POINTS_PER_DIGEST)
        self.points = <Point *>allocated(self.point_count, sizeof(Point))
        for server in range(self.count):
            for number in range(digests[server]):
                label = f"{names[server]}-{number}".encode()
                if self.distribution == CONSISTENT:
                    self.points[next_point] = Point(key_hash(label, len(label)), server)
                    next_point += 1
                    continue
                md5_words(label, len(label), words)
                for word in range(POINTS_PER_DIGEST):
                    self.points[next_point] = Point(words[word], server)
                    next_point += 1
        return 0

    cdef int sort_points(self) except -1:
        cdef uint32_t buckets = 2, bucket, point = 0
        self.shift = 31
        qsort(self.points, self.point_count, sizeof(Point), compare_points)
        while buckets < self.point_count:
            buckets *= 2
            self.shift -= 1
        self.first = <uint32_t *>allocated(buckets + 1, sizeof(uint32_t))
        for bucket in range(buckets):
            while point < self.point_count and self.points[point].value >> self.shift < bucket:
                point += 1
            self.first[bucket] = point
        self.first[buckets] = self.point_count
        return 0

    cdef int lay_slots(self, list servers) except -1:
        cdef list order = list(range(self.count))
        cdef int place
        if self.distribution == MODULA and all(name for name, _, _, _ in servers):
            names = [name.encode() for name, _, _, _ in servers]
            order.sort(key=lambda server: (len(names[server]), names[server]))
        self.order = <int *>allocated(self.count, sizeof(int))
        self.slot_ends = <uint32_t *>allocated(self.count, sizeof(uint32_t))
        for place in range(self.count):
            self.order[place] = order[place]
            self.slot_count += servers[order[place]][3]
            self.slot_ends[place] = self.slot_count
        return 0

    cdef int lay_contenders(self, list servers, list names) except -1:
        cdef int server
        cdef bytes label
        self.contenders = <Contender *>allocated(self.count, sizeof(Contender))
        self.equal_weights = len({weight for _, _, _, weight in servers}) == 1
        for server in range(self.count):
            label = names[server].encode()
            self.contenders[server] = Contender(xxh3_64(label, len(label)), servers[server][3])
        return 0


@cython.final
cdef class Placement:
    """A pool's two rings, key hash and hash tag: which server owns a key, and where its second copy is.

    `former`: keys move from there; its servers stand at `former_places` in a list that begins with `servers`, and
    all positions that are answered are positions in that list. With `settles` the new server of a key is its owner
    already and the former one is beside it, else it is the other way round.
    """

    def __dealloc__(self):
        free(self.former_places)

    def __init__(
        self,
        servers: list[tuple[str, str, int, int]],
        backups: list[tuple[str, str, int, int]],
        distribution: str,
        key_hash: str,
        hash_tag: bytes = b"",
        copies: int = 1,
        *,
        former: Placement | None = None,
        former_places: list[int] | tuple[int, ...] = (),
        settles: bool = False,
    ) -> None:
        if distribution not in BY_NAME:
            raise ConfigError(
                f'distribution "{distribution}" is not known', f"one of: {', '.join(DISTRIBUTIONS)}"
            )
        self.key_hash = find_key_hash(key_hash)
        self.hashes_md5 = key_hash == "md5"
        if distribution == "magent-ketama" and key_hash != "md5":
            raise ConfigError(f'magent-ketama hashes keys with md5, not "{key_hash}"', "key_hash: md5")
        if len(hash_tag) not in (0, 2):
            raise ConfigError(
                f"hash_tag {hash_tag!r} is not two characters", 'two characters such as "{}", or nothing'
            )
        if copies not in (1, 2):
            raise ConfigError(f"copies: {copies} is out of range", "1 or 2")
        if not servers:
            raise ConfigError("a pool needs at least one server", "name it under servers, or with -s")
        self.copies = copies
        self.has_tag = len(hash_tag) == 2
        if self.has_tag:
            self.tag_open, self.tag_close = hash_tag
        kind = BY_NAME[distribution]
        self.servers = new_ring("servers", checked_servers("servers", servers), kind, self.key_hash)
        self.backups = new_ring("backups", checked_servers("backups", backups), kind, self.key_hash)
        self.server_count = <int>len(servers)
        self.backup_count = <int>len(backups)
        if former is not None:
            self.come_from(former, former_places)
        self.settles = settles

    cdef int come_from(self, Placement former, object places) except -1:
        cdef int i
        if self.backup_count or former.backup_count or self.copies == 2 or former.copies == 2:
            raise ValueError("keys with copies do not move")
        if len(places) != former.server_count or any(place < 0 for place in places):
            raise ValueError(f"{len(places)} places for {former.server_count} servers")
        self.former_places = <int *>allocated(former.server_count, sizeof(int))
        for i in range(former.server_count):
            self.former_places[i] = places[i]
        self.former = former
        return 0

    cdef void narrow(self, const unsigned char **key, size_t *length) noexcept nogil:
        """The key to what its hash tag encloses, if anything."""
        cdef const unsigned char *opening
        cdef const unsigned char *closing
        if self.has_tag:
            opening = <const unsigned char *>memchr(key[0], self.tag_open, length[0])
            if opening != NULL:
                opening += 1
                closing = <const unsigned char *>memchr(opening, self.tag_close, key[0] + length[0] - opening)
                if closing != NULL and closing > opening:
                    key[0] = opening
                    length[0] = closing - opening

    cdef uint32_t hash_key(self, const unsigned char **key, size_t *length) noexcept nogil:
        """Narrow the key, and hash what is left."""
        self.narrow(key, length)
        return self.key_hash(key[0], length[0])

    cdef int moving(self, const unsigned char *key, size_t length, int *other) noexcept nogil:
        cdef int old = self.former_places[self.former.owner(key, length)]
        cdef uint32_t key_hash = self.hash_key(&key, &length)
        cdef int new = self.servers.find(key_hash, key, length, NOBODY)
        if old == new:
            other[0] = NOBODY
            return new
        other[0] = old if self.settles else new
        return new if self.settles else old

    cdef int owner(self, const unsigned char *key, size_t length) noexcept nogil:
        cdef int other
        if self.former is not None:
            return self.moving(key, length, &other)
        if self.server_count == 1:
            return 0
        cdef uint32_t key_hash = self.hash_key(&key, &length)
        return self.servers.find(key_hash, key, length, NOBODY)

    cdef int copy(self, const unsigned char *key, size_t length, int owner) noexcept nogil:
        cdef uint32_t key_hash
        cdef int other
        if self.former is not None:
            self.moving(key, length, &other)
            return other
        if self.backup_count == 1:
            return 0
        if self.backup_count == 0 and (self.copies == 1 or self.server_count == 1):
            return NOBODY
        key_hash = self.hash_key(&key, &length)
        if self.backup_count:
            return self.backups.find(key_hash, key, length, NOBODY)
        return self.servers.find(key_hash, key, length, owner)

    cdef int owner_and_copy(self, const unsigned char *key, size_t length, int *copy) noexcept nogil:
        cdef uint32_t key_hash
        if self.former is not None:
            return self.moving(key, length, copy)
        key_hash = self.hash_key(&key, &length)
        return self.find(key_hash, key, length, copy)

    cdef int find(self, uint32_t key_hash, const unsigned char *key, size_t length, int *copy) noexcept nogil:
        cdef int owner = self.servers.find(key_hash, key, length, NOBODY)
        if self.backup_count:
            copy[0] = self.backups.find(key_hash, key, length, NOBODY)
        elif self.copies == 2 and self.server_count > 1:
            copy[0] = self.servers.find(key_hash, key, length, owner)
        else:
            copy[0] = NOBODY
        return owner

    cdef void owners(
        self, const unsigned char **keys, const size_t *lengths, int count, int *owners, int *copies
    ) noexcept nogil:
        cdef const unsigned char *key[AT_ONCE]
        cdef size_t length[AT_ONCE]
        cdef uint32_t key_hash[AT_ONCE]
        cdef int done = 0, n, i, other
        if self.former is not None:
            for i in range(count):
                owners[i] = self.moving(keys[i], lengths[i], &other if copies == NULL else &copies[i])
            return
        if copies == NULL and self.server_count == 1:
            memset(owners, 0, count * sizeof(int))
            return
        while done < count:
            n = min(count - done, <int>AT_ONCE)
            for i in range(n):
                key[i] = keys[done + i]
                length[i] = lengths[done + i]
                self.narrow(&key[i], &length[i])
            if self.hashes_md5:
                md5_first_words(key, length, n, key_hash)
            else:
                for i in range(n):
                    key_hash[i] = self.key_hash(key[i], length[i])
            for i in range(n):
                if copies == NULL:
                    owners[done + i] = self.servers.find(key_hash[i], key[i], length[i], NOBODY)
                else:
                    owners[done + i] = self.find(key_hash[i], key[i], length[i], &copies[done + i])
            done += n

    def locate(self, key: bytes) -> tuple[int, int]:
        """The owner's index in `servers`; the copy's in `backups` or, without those, `servers` (-1: none)."""
        cdef int copy
        cdef int owner = self.owner_and_copy(key, len(key), &copy)
        return owner, copy

    def hash_of(self, key: bytes) -> int:
        """What the key hash makes of a key, or of the part of it that the hash tag encloses."""
        cdef const unsigned char *start = key
        cdef size_t length = len(key)
        return self.hash_key(&start, &length)

    def point_of(self, key: bytes) -> int | None:
        """The point of the servers' ring that takes the key; None where the distribution has no points."""
        cdef uint32_t key_hash = self.hash_of(key), i
        cdef Ring ring = self.servers
        if ring.point_count == 0 or (ring.distribution == MAGENT_KETAMA and key_hash == 0):
            return None
        for i in range(ring.point_count):
            if ring.points[i].value >= key_hash:
                return ring.points[i].value
        return ring.points[0].value

    def locate_many(self, keys: list[bytes], copies: bool = True) -> list[tuple[int, int]]:
        """`locate` of each, 64 at once at most; without `copies` none is looked for."""
        cdef const unsigned char *at[64]
        cdef size_t lengths[64]
        cdef int owners[64]
        cdef int found[64]
        cdef int count = <int>len(keys), i
        if count > 64:
            raise ValueError(f"{count} at once")
        memset(lengths, 0, sizeof(lengths))
        for i in range(count):
            at[i] = keys[i]
            lengths[i] = len(keys[i])
            found[i] = NOBODY
        self.owners(at, lengths, count, owners, found if copies else NULL)
        return [(owners[i], found[i]) for i in range(count)]
