/* System calls of one process that fail as it says: loaded before the C library (LD_PRELOAD), told by `fault_plan`.
 *
 * A plan names a call, the error it gives, and the connection it is about: by its own port and that of its peer, 0 for
 * any. Everything else goes to the system. Not for programs with several threads that make plans.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum call {
    ACCEPT, CONNECT, RECEIVE, SEND, SETSOCKOPT, GETSOCKNAME, GETPEERNAME, SHUTDOWN, CLOSE, SOCKET, SO_ERROR_OF,
    ADDRESSES, SOCKETPAIR, FORK, CALLS
};

static struct {
    int error; /* 0: no plan */
    int local; /* port of our end, 0 for any */
    int peer;  /* port of the other end, 0 for any */
    int skip;  /* calls that still work */
    int times; /* calls that fail then */
    int hits;  /* calls that have failed */
} plans[CALLS];

void fault_plan(int call, int error, int local, int peer, int skip, int times)
{
    plans[call].error = error;
    plans[call].local = local;
    plans[call].peer = peer;
    plans[call].skip = skip;
    plans[call].times = times;
    plans[call].hits = 0;
}

int fault_hits(int call) { return plans[call].hits; }

#define REAL(name) ((__typeof__(&name))real(&real_##name, #name))

static void *real(void **known, const char *name)
{
    if (*known == NULL)
        *known = dlsym(RTLD_NEXT, name);
    return *known;
}

static void *real_accept, *real_accept4, *real_connect, *real_recv, *real_recvfrom, *real_recvmsg, *real_read,
    *real_readv, *real_send, *real_sendto, *real_sendmsg, *real_write, *real_writev, *real_setsockopt,
    *real_getsockopt, *real_getsockname, *real_getpeername, *real_shutdown, *real_close, *real_socket, *real_getaddrinfo,
    *real_socketpair, *real_fork;

static int port(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET)
        return ntohs(((const struct sockaddr_in *)address)->sin_port);
    if (address->sa_family == AF_INET6)
        return ntohs(((const struct sockaddr_in6 *)address)->sin6_port);
    return -1;
}

static int port_of(int fd, int ours)
{
    struct sockaddr_storage address;
    socklen_t size = sizeof address;
    int known = ours ? REAL(getsockname)(fd, (struct sockaddr *)&address, &size)
                     : REAL(getpeername)(fd, (struct sockaddr *)&address, &size);
    return known == 0 ? port((struct sockaddr *)&address) : -1;
}

/* The error this call is to give, 0 for none. */
static int due(enum call call)
{
    if (plans[call].skip > 0) {
        plans[call].skip--;
        return 0;
    }
    if (plans[call].times == 0)
        return 0;
    plans[call].times--;
    plans[call].hits++;
    return plans[call].error;
}

static int due_on(enum call call, int fd)
{
    int before = errno, error = 0;
    if (plans[call].error == 0 || plans[call].times == 0)
        return 0;
    if ((plans[call].local == 0 || plans[call].local == port_of(fd, 1)) &&
        (plans[call].peer == 0 || plans[call].peer == port_of(fd, 0)))
        error = due(call);
    errno = before;
    return error;
}

#define FAIL_ON(call, fd)                                                                                              \
    do {                                                                                                               \
        int error = due_on(call, fd);                                                                                  \
        if (error != 0) {                                                                                              \
            errno = error;                                                                                             \
            return -1;                                                                                                 \
        }                                                                                                              \
    } while (0)

int accept(int fd, struct sockaddr *address, socklen_t *size)
{
    FAIL_ON(ACCEPT, fd);
    return REAL(accept)(fd, address, size);
}

int accept4(int fd, struct sockaddr *address, socklen_t *size, int flags)
{
    FAIL_ON(ACCEPT, fd);
    return REAL(accept4)(fd, address, size, flags);
}

int connect(int fd, const struct sockaddr *address, socklen_t size)
{
    if (plans[CONNECT].error != 0 && (plans[CONNECT].peer == 0 || plans[CONNECT].peer == port(address))) {
        int error = due(CONNECT);
        if (error != 0) {
            errno = error;
            return -1;
        }
    }
    return REAL(connect)(fd, address, size);
}

ssize_t recv(int fd, void *data, size_t size, int flags)
{
    FAIL_ON(RECEIVE, fd);
    return REAL(recv)(fd, data, size, flags);
}

ssize_t recvfrom(int fd, void *data, size_t size, int flags, struct sockaddr *address, socklen_t *length)
{
    FAIL_ON(RECEIVE, fd);
    return REAL(recvfrom)(fd, data, size, flags, address, length);
}

ssize_t recvmsg(int fd, struct msghdr *message, int flags)
{
    FAIL_ON(RECEIVE, fd);
    return REAL(recvmsg)(fd, message, flags);
}

ssize_t read(int fd, void *data, size_t size)
{
    FAIL_ON(RECEIVE, fd);
    return REAL(read)(fd, data, size);
}

ssize_t readv(int fd, const struct iovec *parts, int count)
{
    FAIL_ON(RECEIVE, fd);
    return REAL(readv)(fd, parts, count);
}

ssize_t send(int fd, const void *data, size_t size, int flags)
{
    FAIL_ON(SEND, fd);
    return REAL(send)(fd, data, size, flags);
}

ssize_t sendto(int fd, const void *data, size_t size, int flags, const struct sockaddr *address, socklen_t length)
{
    FAIL_ON(SEND, fd);
    return REAL(sendto)(fd, data, size, flags, address, length);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    FAIL_ON(SEND, fd);
    return REAL(sendmsg)(fd, message, flags);
}

ssize_t write(int fd, const void *data, size_t size)
{
    FAIL_ON(SEND, fd);
    return REAL(write)(fd, data, size);
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    FAIL_ON(SEND, fd);
    return REAL(writev)(fd, parts, count);
}

int setsockopt(int fd, int level, int name, const void *value, socklen_t size)
{
    FAIL_ON(SETSOCKOPT, fd);
    return REAL(setsockopt)(fd, level, name, value, size);
}

/* SO_ERROR_OF: the call works, and tells that connecting has failed. */
int getsockopt(int fd, int level, int name, void *value, socklen_t *size)
{
    int result = REAL(getsockopt)(fd, level, name, value, size);
    if (result == 0 && level == SOL_SOCKET && name == SO_ERROR) {
        int error = due_on(SO_ERROR_OF, fd);
        if (error != 0)
            *(int *)value = error;
    }
    return result;
}

int getsockname(int fd, struct sockaddr *address, socklen_t *size)
{
    FAIL_ON(GETSOCKNAME, fd);
    return REAL(getsockname)(fd, address, size);
}

int getpeername(int fd, struct sockaddr *address, socklen_t *size)
{
    FAIL_ON(GETPEERNAME, fd);
    return REAL(getpeername)(fd, address, size);
}

int shutdown(int fd, int how)
{
    FAIL_ON(SHUTDOWN, fd);
    return REAL(shutdown)(fd, how);
}

/* As Linux does it: whatever it tells, the descriptor is closed. */
int close(int fd)
{
    int error = due_on(CLOSE, fd);
    int result = REAL(close)(fd);
    if (error != 0) {
        errno = error;
        return -1;
    }
    return result;
}

#define FAIL(call)                                                                                                     \
    do {                                                                                                               \
        int error = plans[call].error != 0 ? due(call) : 0;                                                            \
        if (error != 0) {                                                                                              \
            errno = error;                                                                                             \
            return -1;                                                                                                 \
        }                                                                                                              \
    } while (0)

int socket(int domain, int type, int protocol)
{
    FAIL(SOCKET);
    return REAL(socket)(domain, type, protocol);
}

int socketpair(int domain, int type, int protocol, int pair[2])
{
    FAIL(SOCKETPAIR);
    return REAL(socketpair)(domain, type, protocol, pair);
}

pid_t fork(void)
{
    FAIL(FORK);
    return REAL(fork)();
}

/* An error below 0 is one of getaddrinfo itself, any other one is EAI_SYSTEM with it. */
int getaddrinfo(const char *host, const char *service, const struct addrinfo *hints, struct addrinfo **found)
{
    int error = plans[ADDRESSES].error != 0 ? due(ADDRESSES) : 0;
    if (error < 0)
        return error;
    if (error > 0) {
        errno = error;
        return EAI_SYSTEM;
    }
    return REAL(getaddrinfo)(host, service, hints, found);
}
