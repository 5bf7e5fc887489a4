"""The system calls of the hot path; every foreign name of `_net` is declared here."""

from libc.stdint cimport int64_t, uint32_t, uint64_t

cdef extern from "<sys/epoll.h>" nogil:
    enum:
        EPOLLIN
        EPOLLOUT
        EPOLLERR
        EPOLLHUP
        EPOLLRDHUP
        EPOLLET
        EPOLLEXCLUSIVE
        EPOLL_CTL_ADD
        EPOLL_CTL_DEL
        EPOLL_CLOEXEC

    ctypedef union epoll_data_t:
        int fd
        uint64_t u64

    # packed on x86-64: the C compiler takes the layout from its own header
    struct epoll_event:
        uint32_t events
        epoll_data_t data

    int epoll_create1(int flags)
    int epoll_ctl(int epfd, int op, int fd, epoll_event *event)
    int epoll_wait(int epfd, epoll_event *events, int maxevents, int timeout_ms)

cdef extern from "<sys/socket.h>" nogil:
    enum:
        MSG_DONTWAIT
        MSG_NOSIGNAL
        SOCK_NONBLOCK
        SOCK_CLOEXEC
        SHUT_WR

    ssize_t recv(int fd, void *buffer, size_t length, int flags)
    ssize_t send(int fd, const void *buffer, size_t length, int flags)
    int shutdown(int fd, int how)
    int accept4(int fd, void *address, void *address_length, int flags)

cdef extern from "<netinet/in.h>" nogil:
    enum:
        IPPROTO_TCP

cdef extern from "<netinet/tcp.h>" nogil:
    enum:
        TCP_NODELAY

cdef extern from "<sys/socket.h>" nogil:
    int setsockopt(int fd, int level, int name, const void *value, uint32_t length)

cdef extern from "<sys/timerfd.h>" nogil:
    enum:
        TFD_NONBLOCK
        TFD_CLOEXEC

    struct timespec:
        long tv_sec
        long tv_nsec

    struct itimerspec:
        timespec it_interval
        timespec it_value

    int timerfd_create(int clock, int flags)
    int timerfd_settime(int fd, int flags, const itimerspec *new_value, itimerspec *old_value)

cdef extern from "<time.h>" nogil:
    enum:
        CLOCK_MONOTONIC

    int clock_gettime(int clock, timespec *result)

cdef extern from "<unistd.h>" nogil:
    int close(int fd)
    int usleep(unsigned int us)
    ssize_t read(int fd, void *buffer, size_t length)

cdef extern from "<errno.h>" nogil:
    int errno
    enum:
        EAGAIN
        EINTR
        EMFILE
        ENFILE
        ENOBUFS
        ENOMEM


cdef inline int64_t monotonic_us() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <int64_t> now.tv_sec * 1_000_000 + now.tv_nsec // 1000
