"""Servers, backups and the rings over them: which server a key belongs to (behaviour section 1)."""

cimport cython
from libc.stdint cimport int64_t

from memagent._core.ring cimport Placement
from memagent._core.server cimport Server


@cython.final
cdef class Pool:
    """`servers` and `backups` stand in the order of the configuration, which is the order that `placement` counts in."""

    def __cinit__(self, str name not None, list servers not None, list backups not None, Placement placement not None, *,
                  bint miss_when_down=True, int64_t multiget_deadline_us=0):
        self.name = name
        self.servers = servers
        self.backups = backups
        self.placement = placement
        self.miss_when_down = miss_when_down
        self.multiget_deadline_us = multiget_deadline_us

    cdef Server owner(self, const unsigned char *key, size_t length):
        return <Server> self.servers[self.placement.owner(key, length)]
