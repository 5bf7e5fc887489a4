"""Servers, backups and the rings over them."""

from libc.stdint cimport int64_t

from memagent._core.ring cimport Placement
from memagent._core.server cimport Server


cdef class Pool:
    cdef readonly str name
    cdef readonly list servers
    cdef readonly list backups
    cdef Placement placement
    cdef readonly bint miss_when_down
    cdef readonly int64_t multiget_deadline_us

    cdef Server owner(self, const unsigned char *key, size_t length)
