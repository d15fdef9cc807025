/* Faults of calls on files and sockets, for a program that is started with this library in LD_PRELOAD.
 *
 * The calls of one folder (and of all sockets) are counted, over all threads and processes that share the file of counts.
 * The n-th call fails, or all from the n-th on, or each with a probability; or the n-th reads or writes half of its bytes.
 * Python and native code are hit alike, except for the buffered streams of the C library after `fopen`.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { OPEN = 1, CREATE = 2, READ = 4, WRITE = 8, SYNC = 16, NAME = 32, STAT = 64, CLOSE = 128, CONNECT = 256, SEND = 512, RECEIVE = 1024 };
enum { ONCE, FROM_THEN_ON, SHORT, RANDOM };

struct counts {
    atomic_long calls, faults;
    char first[496]; /* name and file of the first call that failed */
};

static struct {
    char folder[512];
    size_t length;
    int kinds, error, mode;
    long number; /* of the call; with RANDOM, calls of a million that fail */
    atomic_uint_fast64_t state;
    struct counts *counts;
} setting;
static atomic_int armed;

/* Arm the library: "folder|kinds|number|error|mode|seed|file of counts"; an empty text disarms it. */
int arm_faults(const char *text) {
    char counts[512];
    unsigned long seed;
    atomic_store(&armed, 0);
    if (!*text) return 0;
    if (sscanf(text, "%511[^|]|%d|%ld|%d|%d|%lu|%511[^|]", setting.folder, &setting.kinds, &setting.number, &setting.error, &setting.mode,
               &seed, counts) != 7)
        return -1;
    setting.length = strlen(setting.folder);
    atomic_store(&setting.state, seed * 2654435769u + 88172645463325252u);
    int file = (int)syscall(SYS_openat, AT_FDCWD, counts, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (file < 0 || syscall(SYS_ftruncate, file, sizeof(struct counts))) return -1;
    void *memory = mmap(NULL, sizeof(struct counts), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    syscall(SYS_close, file);
    if (memory == MAP_FAILED) return -1;
    setting.counts = memory;
    atomic_store(&armed, 1);
    return 0;
}

__attribute__((constructor)) static void arm_from_environment(void) {
    const char *text = getenv("FER_EDGE_FAULTS");
    if (text && arm_faults(text)) abort();
}

static int random_error(int kind, uint64_t number) {
    static const int files[] = {EIO, ENOSPC, EACCES, -1}, sockets[] = {ECONNRESET, EPIPE, ETIMEDOUT, -1};
    int error = kind >= CONNECT ? sockets[number % 4] : files[number % 4];
    int partial = kind & (READ | WRITE | SEND | RECEIVE);
    if (error == -1) return partial ? -1 : kind == CONNECT ? ECONNREFUSED : EIO;
    if (kind == READ || kind == STAT || kind == CLOSE) return EIO; /* which have nothing to do with space or permission */
    return kind == WRITE && error == EACCES ? EIO : error;
}

/* Return the error of this call: 0 none, -1 half of the bytes. */
static int fault(int kind, const char *call, int fd, const char *path) {
    if (!atomic_load(&armed)) return 0;
    /* `read` and `write` transfer the bytes of sockets too. */
    int as_socket = kind == READ ? RECEIVE : kind == WRITE ? SEND : 0;
    if (!((kind | as_socket) & setting.kinds)) return 0;
    char target[512];
    if (!path || path[0] != '/') { /* a relative path belongs to the folder of its descriptor */
        char link[48];
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        ssize_t size = fd < 0 ? -1 : syscall(SYS_readlinkat, AT_FDCWD, link, target, sizeof target - 1);
        if (size < 0) return 0;
        target[size] = 0;
        path = target;
    }
    int is_socket = !strncmp(path, "socket:", 7);
    if (is_socket) { /* pairs of sockets inside a process have no such faults */
        int domain = 0;
        socklen_t length = sizeof domain;
        if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &length) || (domain != AF_INET && domain != AF_INET6)) return 0;
    }
    if (is_socket && as_socket) kind = as_socket;
    if (!(kind & setting.kinds) || (!is_socket && strncmp(path, setting.folder, setting.length))) return 0;
    long number = 1 + atomic_fetch_add(&setting.counts->calls, 1);
    int error = setting.mode == SHORT ? -1 : setting.error;
    if (setting.mode == RANDOM) {
        uint64_t drawn = atomic_fetch_add(&setting.state, 0x9E3779B97F4A7C15u); /* splitmix64 */
        drawn = (drawn ^ (drawn >> 30)) * 0xBF58476D1CE4E5B9u;
        drawn = (drawn ^ (drawn >> 27)) * 0x94D049BB133111EBu;
        drawn ^= drawn >> 31;
        if ((long)(drawn % 1000000) >= setting.number) return 0;
        error = random_error(kind, drawn >> 32);
    } else if (setting.mode == FROM_THEN_ON ? number < setting.number : number != setting.number) {
        return 0;
    }
    if (!atomic_fetch_add(&setting.counts->faults, 1)) snprintf(setting.counts->first, sizeof setting.counts->first, "%s %.400s", call, path);
    return error;
}

#define REAL(name) \
    static __typeof__(&name) real; \
    if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)
#define FAIL_IF(kind, name, fd, path, failed) \
    int error_ = fault(kind, name, fd, path); \
    if (error_ > 0) { \
        errno = error_; \
        return failed; \
    }
#define HALF(size) (error_ < 0 && (size) > 1 ? (size) / 2 : (size))

#define OPENING(name) \
    int name(const char *path, int flags, ...) { \
        REAL(name); \
        va_list list; \
        va_start(list, flags); \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(list, mode_t) : 0; \
        va_end(list); \
        FAIL_IF(flags & O_CREAT ? CREATE : OPEN, #name, -1, path, -1) \
        return real(path, flags, mode); \
    }
OPENING(open)
OPENING(open64)
#define OPENING_AT(name) \
    int name(int folder, const char *path, int flags, ...) { \
        REAL(name); \
        va_list list; \
        va_start(list, flags); \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(list, mode_t) : 0; \
        va_end(list); \
        FAIL_IF(flags & O_CREAT ? CREATE : OPEN, #name, folder, path, -1) \
        return real(folder, path, flags, mode); \
    }
OPENING_AT(openat)
OPENING_AT(openat64)
#define STREAM(name) \
    FILE *name(const char *path, const char *mode) { \
        REAL(name); \
        FAIL_IF(mode[0] == 'r' ? OPEN : CREATE, #name, -1, path, NULL) \
        return real(path, mode); \
    }
STREAM(fopen)
STREAM(fopen64)

DIR *opendir(const char *path) {
    REAL(opendir);
    FAIL_IF(OPEN, "opendir", -1, path, NULL)
    return real(path);
}

/* Result, name, parameters, arguments, kind, descriptor, path. */
#define CALL(result, name, parameters, arguments, kind, fd, path) \
    result name parameters { \
        REAL(name); \
        FAIL_IF(kind, #name, fd, path, -1) \
        return real arguments; \
    }
CALL(ssize_t, read, (int fd, void *data, size_t size), (fd, data, HALF(size)), READ, fd, NULL)
CALL(ssize_t, pread, (int fd, void *data, size_t size, off_t at), (fd, data, HALF(size), at), READ, fd, NULL)
CALL(ssize_t, pread64, (int fd, void *data, size_t size, off64_t at), (fd, data, HALF(size), at), READ, fd, NULL)
CALL(ssize_t, readv, (int fd, const struct iovec *parts, int count), (fd, parts, HALF(count)), READ, fd, NULL)
CALL(ssize_t, write, (int fd, const void *data, size_t size), (fd, data, HALF(size)), WRITE, fd, NULL)
CALL(ssize_t, pwrite, (int fd, const void *data, size_t size, off_t at), (fd, data, HALF(size), at), WRITE, fd, NULL)
CALL(ssize_t, pwrite64, (int fd, const void *data, size_t size, off64_t at), (fd, data, HALF(size), at), WRITE, fd, NULL)
CALL(ssize_t, writev, (int fd, const struct iovec *parts, int count), (fd, parts, HALF(count)), WRITE, fd, NULL)
CALL(ssize_t, copy_file_range, (int in, off64_t *from, int out, off64_t *to, size_t size, unsigned flags), (in, from, out, to, HALF(size), flags), WRITE, out, NULL)
CALL(int, fsync, (int fd), (fd), SYNC, fd, NULL)
CALL(int, fdatasync, (int fd), (fd), SYNC, fd, NULL)
CALL(int, ftruncate, (int fd, off_t size), (fd, size), WRITE, fd, NULL)
CALL(int, ftruncate64, (int fd, off64_t size), (fd, size), WRITE, fd, NULL)
CALL(int, rename, (const char *from, const char *to), (from, to), NAME, -1, from)
CALL(int, renameat, (int folder, const char *from, int into, const char *to), (folder, from, into, to), NAME, folder, from)
CALL(int, link, (const char *from, const char *to), (from, to), NAME, -1, to)
CALL(int, unlink, (const char *path), (path), NAME, -1, path)
CALL(int, unlinkat, (int folder, const char *path, int flags), (folder, path, flags), NAME, folder, path)
CALL(int, mkdir, (const char *path, mode_t mode), (path, mode), CREATE, -1, path)
CALL(int, mkdirat, (int folder, const char *path, mode_t mode), (folder, path, mode), CREATE, folder, path)
CALL(int, rmdir, (const char *path), (path), NAME, -1, path)
CALL(int, chmod, (const char *path, mode_t mode), (path, mode), NAME, -1, path)
CALL(int, fchmodat, (int folder, const char *path, mode_t mode, int flags), (folder, path, mode, flags), NAME, folder, path)
CALL(int, stat, (const char *path, struct stat *out), (path, out), STAT, -1, path)
CALL(int, stat64, (const char *path, struct stat64 *out), (path, out), STAT, -1, path)
CALL(int, lstat, (const char *path, struct stat *out), (path, out), STAT, -1, path)
CALL(int, lstat64, (const char *path, struct stat64 *out), (path, out), STAT, -1, path)
CALL(int, fstat, (int fd, struct stat *out), (fd, out), STAT, fd, NULL)
CALL(int, fstat64, (int fd, struct stat64 *out), (fd, out), STAT, fd, NULL)
CALL(int, fstatat, (int folder, const char *path, struct stat *out, int flags), (folder, path, out, flags), STAT, folder, path)
CALL(int, fstatat64, (int folder, const char *path, struct stat64 *out, int flags), (folder, path, out, flags), STAT, folder, path)
CALL(int, connect, (int fd, const struct sockaddr *to, socklen_t size), (fd, to, size), CONNECT, fd, NULL)
CALL(int, accept, (int fd, struct sockaddr *from, socklen_t *size), (fd, from, size), CONNECT, fd, NULL)
CALL(int, accept4, (int fd, struct sockaddr *from, socklen_t *size, int flags), (fd, from, size, flags), CONNECT, fd, NULL)
CALL(ssize_t, send, (int fd, const void *data, size_t size, int flags), (fd, data, HALF(size), flags), SEND, fd, NULL)
CALL(ssize_t, sendto, (int fd, const void *data, size_t size, int flags, const struct sockaddr *to, socklen_t length), (fd, data, size, flags, to, length), SEND, fd, NULL)
CALL(ssize_t, sendmsg, (int fd, const struct msghdr *message, int flags), (fd, message, flags), SEND, fd, NULL)
CALL(ssize_t, recv, (int fd, void *data, size_t size, int flags), (fd, data, HALF(size), flags), RECEIVE, fd, NULL)
CALL(ssize_t, recvfrom, (int fd, void *data, size_t size, int flags, struct sockaddr *from, socklen_t *length), (fd, data, size, flags, from, length), RECEIVE, fd, NULL)
CALL(ssize_t, recvmsg, (int fd, struct msghdr *message, int flags), (fd, message, flags), RECEIVE, fd, NULL)

/* A close that fails has closed the descriptor all the same, as on Linux. */
int close(int fd) {
    REAL(close);
    int error = fault(CLOSE, "close", fd, NULL);
    int result = real(fd);
    if (error <= 0) return result;
    errno = error;
    return -1;
}
