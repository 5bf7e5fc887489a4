"""What a follower is told without anybody waiting for its answer."""

from libc.stdint cimport uint32_t, uint64_t

from memagent._core.channel cimport Awaiting
from memagent._core.limits cimport MAX_KEY_BYTES
from memagent._core.metrics cimport Block
from memagent._core.pool cimport Pool
from memagent._core.server cimport Server


cdef class Effect(Awaiting):
    cdef Pool pool
    cdef Block counters
    cdef Server server
    cdef unsigned char key[MAX_KEY_BYTES]
    cdef size_t key_length
    cdef uint32_t slot
    cdef uint32_t note
    cdef Server closed           # the server, if it shall not open before

    cdef int lose(self) except -1
    cdef int end(self) except -1

cdef int delete_on(Pool pool, Block counters, Server server, const unsigned char *key, size_t length) except -1
cdef int take_back(Pool pool, Block counters, Server server, const unsigned char *key, size_t length,
                   uint64_t cas) except -1
cdef int touch_follower(Pool pool, Block counters, Server server, const unsigned char *key, size_t length,
                        bytes exptime) except -1
