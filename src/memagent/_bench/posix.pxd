"""What the load generator needs of the kernel."""

from libc.stdint cimport int64_t, uint32_t

cdef extern from "<sys/epoll.h>" nogil:
    union epoll_data_t:
        uint32_t u32
    struct epoll_event:
        uint32_t events
        epoll_data_t data
    enum:
        EPOLLIN, EPOLLOUT, EPOLL_CTL_ADD, EPOLL_CTL_MOD, EPOLL_CLOEXEC
    int epoll_create1(int flags)
    int epoll_ctl(int epfd, int op, int fd, epoll_event *event)
    int epoll_wait(int epfd, epoll_event *events, int most, int timeout)

cdef extern from "<poll.h>" nogil:
    struct pollfd:
        int fd
        short events
    enum:
        POLLIN

cdef extern from "<time.h>" nogil:
    struct timespec:
        long tv_sec
        long tv_nsec
    enum:
        CLOCK_MONOTONIC
    int clock_gettime(int clock, timespec *now)

cdef extern from *:
    """
    #include <poll.h>
    #include <signal.h>
    #include <sys/prctl.h>
    #define memagent_wait_for(fds, timeout) ppoll((fds), 1, (timeout), NULL)
    #define memagent_precise_timers() prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL)
    """
    int wait_for "memagent_wait_for" (pollfd *fds, timespec *timeout) noexcept nogil
    int precise_timers "memagent_precise_timers" () noexcept nogil

cdef extern from "<sys/socket.h>" nogil:
    struct sockaddr:
        pass
    struct sockaddr_storage:
        unsigned short ss_family
    enum:
        AF_UNIX, SOCK_STREAM, SOCK_NONBLOCK, SOCK_CLOEXEC, SOL_SOCKET, SO_ERROR, MSG_NOSIGNAL, MSG_DONTWAIT
    int c_socket "socket" (int family, int kind, int protocol)
    int c_connect "connect" (int fd, const sockaddr *address, unsigned int length)
    int setsockopt(int fd, int level, int name, const void *value, unsigned int length)
    int getsockopt(int fd, int level, int name, void *value, unsigned int *length)
    ssize_t c_send "send" (int fd, const void *data, size_t length, int flags)
    ssize_t c_recv "recv" (int fd, void *data, size_t length, int flags)

cdef extern from "<netinet/in.h>" nogil:
    struct in_addr:
        pass
    struct in6_addr:
        pass
    struct sockaddr_in:
        unsigned short sin_family, sin_port
        in_addr sin_addr
    struct sockaddr_in6:
        unsigned short sin6_family, sin6_port
        in6_addr sin6_addr
        uint32_t sin6_scope_id
    enum:
        IPPROTO_TCP
    unsigned short htons(unsigned short port)

cdef extern from "<netinet/tcp.h>" nogil:
    enum:
        TCP_NODELAY

cdef extern from "<sys/un.h>" nogil:
    struct sockaddr_un:
        unsigned short sun_family
        char sun_path[108]

cdef extern from "<unistd.h>" nogil:
    int c_close "close" (int fd)


cdef inline int64_t clock_ns() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <int64_t>now.tv_sec * 1000000000 + now.tv_nsec
