from libc.stdint cimport uint32_t, uint64_t

from memagent._core.hashing cimport KeyHash

cdef enum Distribution:
    MODULA
    KETAMA
    CONSISTENT
    MAGENT_KETAMA
    JUMP
    RENDEZVOUS

cdef struct Point:
    uint32_t value
    uint32_t server

cdef struct Contender:
    uint64_t seed
    double weight


cdef class Ring:
    cdef int count
    cdef Distribution distribution

    cdef Point *points
    cdef uint32_t point_count
    cdef uint32_t *first
    cdef int shift

    cdef int *order
    cdef uint32_t *slot_ends
    cdef uint32_t slot_count

    cdef Contender *contenders
    cdef bint equal_weights

    cdef int find(self, uint32_t key_hash, const unsigned char *key, size_t length, int taken) noexcept nogil
    cdef int from_point(self, uint32_t key_hash, int taken) noexcept nogil
    cdef int from_slot(self, uint32_t slot, int taken) noexcept nogil
    cdef int best_contender(self, uint32_t key_hash, int taken) noexcept nogil

    cdef int lay_points(self, list servers, list names, KeyHash key_hash) except -1
    cdef int sort_points(self) except -1
    cdef int lay_slots(self, list servers) except -1
    cdef int lay_contenders(self, list servers, list names) except -1


cdef class Placement:
    cdef Ring servers
    cdef Ring backups
    cdef KeyHash key_hash
    cdef int server_count
    cdef int backup_count
    cdef int copies
    cdef unsigned char tag_open
    cdef unsigned char tag_close
    cdef bint has_tag
    cdef bint hashes_md5
    cdef Placement former
    cdef int *former_places
    cdef bint settles

    cdef int come_from(self, Placement former, object places) except -1
    cdef void narrow(self, const unsigned char **key, size_t *length) noexcept nogil
    cdef uint32_t hash_key(self, const unsigned char **key, size_t *length) noexcept nogil
    # The owner's index in `servers`.
    cdef int owner(self, const unsigned char *key, size_t length) noexcept nogil
    # Where the second copy is: an index in `backups` if there are any, else (copies: 2) in `servers`, or -1
    cdef int copy(self, const unsigned char *key, size_t length, int owner) noexcept nogil
    # While keys move: who decides about this one and, or -1, who is told what he has decided; both in `servers`.
    cdef int moving(self, const unsigned char *key, size_t length, int *other) noexcept nogil
    # Both, for one hashing of the key.
    cdef int owner_and_copy(self, const unsigned char *key, size_t length, int *copy) noexcept nogil
    cdef int find(self, uint32_t key_hash, const unsigned char *key, size_t length, int *copy) noexcept nogil
    # The same for many keys, hashed several at a time where that is quicker. `copies` may be NULL.
    cdef void owners(
        self, const unsigned char **keys, const size_t *lengths, int count, int *owners, int *copies
    ) noexcept nogil
