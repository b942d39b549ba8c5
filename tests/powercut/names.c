/* The part of the power-cut library that watches opening, closing and names; see powercut.c. */
#define _GNU_SOURCE
#include "journal.h"
#include "watch.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A name in its directory, both as the kernel sees them. */
struct place {
    bool inside;
    uint64_t parent;
    char path[PATH_MAX];
};

static struct place locate(int dirfd, const char *path)
{
    struct place place = {.inside = false};
    char head[PATH_MAX], tail[PATH_MAX];
    if (!watch_ready || strlen(path) >= PATH_MAX) return place;
    strcpy(head, path);
    strcpy(tail, path);
    int dir = (int)syscall(SYS_openat, dirfd, dirname(head), O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0) return place;
    struct stat st;
    char folder[PATH_MAX];
    if (fstat(dir, &st) == 0 && watch_path_of(dir, folder) &&
        snprintf(place.path, PATH_MAX, "%s/%s", folder, basename(tail)) < PATH_MAX) {
        place.parent = st.st_ino;
        place.inside = watch_inside(place.path);
    }
    syscall(SYS_close, dir);
    return place;
}

/* ---- descriptors ---- */

static void watch_opened(int fd, int flags, bool fresh, bool truncate)
{
    char path[PATH_MAX];
    struct stat st;
    if (fd >= (int)sizeof watch_fds) abort();
    watch_fds[fd] = 0;
    bool known = watch_path_of(fd, path) && watch_inside(path) && fstat(fd, &st) == 0;
    if (known && S_ISDIR(st.st_mode)) watch_fds[fd] = DIR_FD;
    if (known && S_ISREG(st.st_mode)) {
        unsigned char kind = FILE_FD;
        if (flags & O_APPEND) kind |= APPENDS;
        if (flags & (O_SYNC | O_DSYNC)) kind |= WRITES_THROUGH;
        watch_fds[fd] = kind;
        if (fresh) {
            watch_new_inode(st.st_ino);
            journal_put('C', locate(AT_FDCWD, path).parent, st.st_ino, 0, path, strlen(path));
        } else if (truncate) {
            before_change(fd, &st, 0, UINT64_MAX);
        }
    }
    if (truncate) syscall(SYS_ftruncate, fd, 0);
}

static int opened(int dirfd, const char *path, int flags, mode_t mode)
{
    if (!watch_ready || flags & O_PATH) return (int)syscall(SYS_openat, dirfd, path, flags, mode);
    /* Emptying an existing file is done by ourselves, after what it held is in the journal. */
    bool truncate = flags & O_TRUNC && (flags & O_ACCMODE) != O_RDONLY;
    pthread_mutex_lock(&watch_lock);
    bool fresh = flags & O_TMPFILE & ~O_DIRECTORY ||
                 (flags & O_CREAT && syscall(SYS_faccessat, dirfd, path, F_OK) != 0);
    int fd = (int)syscall(SYS_openat, dirfd, path, truncate ? flags & ~O_TRUNC : flags, mode);
    int error = errno;
    if (fd >= 0) watch_opened(fd, flags, fresh, truncate);
    pthread_mutex_unlock(&watch_lock);
    errno = error;
    return fd;
}

#define MODE_OF(flags, mode)                                                                                           \
    mode_t mode = 0;                                                                                                   \
    if ((flags) & (O_CREAT | O_TMPFILE)) {                                                                             \
        va_list rest;                                                                                                  \
        va_start(rest, flags);                                                                                         \
        mode = va_arg(rest, mode_t);                                                                                   \
        va_end(rest);                                                                                                  \
    }

int open(const char *path, int flags, ...)
{
    MODE_OF(flags, mode)
    return opened(AT_FDCWD, path, flags, mode);
}
int open64(const char *path, int flags, ...)
{
    MODE_OF(flags, mode)
    return opened(AT_FDCWD, path, flags, mode);
}
int openat(int dirfd, const char *path, int flags, ...)
{
    MODE_OF(flags, mode)
    return opened(dirfd, path, flags, mode);
}
int openat64(int dirfd, const char *path, int flags, ...)
{
    MODE_OF(flags, mode)
    return opened(dirfd, path, flags, mode);
}
int __open_2(const char *path, int flags) { return opened(AT_FDCWD, path, flags, 0); }
int __open64_2(const char *path, int flags) { return opened(AT_FDCWD, path, flags, 0); }
int creat(const char *path, mode_t mode) { return opened(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }
int creat64(const char *path, mode_t mode) { return creat(path, mode); }

int truncate(const char *path, off_t len)
{
    int fd = opened(AT_FDCWD, path, O_WRONLY | O_CLOEXEC, 0);
    if (fd < 0) return -1;
    int r = ftruncate(fd, len), error = errno;
    close(fd);
    errno = error;
    return r;
}
int truncate64(const char *path, off_t len) { return truncate(path, len); }

int close(int fd)
{
    if (watched(fd)) watch_fds[fd] = 0;
    return (int)syscall(SYS_close, fd);
}

static int copied(int from, int to)
{
    if (to >= 0 && to < (int)sizeof watch_fds) watch_fds[to] = (unsigned char)watched(from);
    return to;
}
int dup(int fd) { return copied(fd, (int)syscall(SYS_dup, fd)); }
int dup3(int fd, int to, int flags) { return copied(fd, (int)syscall(SYS_dup3, fd, to, flags)); }
int dup2(int fd, int to)
{
    if (fd == to) return fcntl(fd, F_GETFD) < 0 ? -1 : fd;
    return dup3(fd, to, 0);
}

static int controlled(int fd, int command, void *argument)
{
    int r = (int)syscall(SYS_fcntl, fd, command, argument);
    return r >= 0 && (command == F_DUPFD || command == F_DUPFD_CLOEXEC) ? copied(fd, r) : r;
}
int fcntl(int fd, int command, ...)
{
    va_list rest;
    va_start(rest, command);
    void *argument = va_arg(rest, void *);
    va_end(rest);
    return controlled(fd, command, argument);
}
int fcntl64(int fd, int command, ...)
{
    va_list rest;
    va_start(rest, command);
    void *argument = va_arg(rest, void *);
    va_end(rest);
    return controlled(fd, command, argument);
}

/* ---- names ---- */

/* Ends a call that makes `path`, begun under the lock: notes it under `kind` when its result `r` is success. */
static int made(char kind, int dirfd, const char *path, long r)
{
    int error = errno;
    struct place place = locate(dirfd, path);
    struct stat st;
    if (r == 0 && place.inside && lstat(place.path, &st) == 0)
        journal_put(kind, place.parent, st.st_ino, 0, place.path, strlen(place.path));
    pthread_mutex_unlock(&watch_lock);
    errno = error;
    return (int)r;
}

int mkdirat(int dirfd, const char *path, mode_t mode)
{
    pthread_mutex_lock(&watch_lock);
    return made('M', dirfd, path, syscall(SYS_mkdirat, dirfd, path, mode));
}
int mkdir(const char *path, mode_t mode) { return mkdirat(AT_FDCWD, path, mode); }

int linkat(int from_dir, const char *from, int to_dir, const char *to, int flags)
{
    pthread_mutex_lock(&watch_lock);
    return made('L', to_dir, to, syscall(SYS_linkat, from_dir, from, to_dir, to, flags));
}
int link(const char *from, const char *to) { return linkat(AT_FDCWD, from, AT_FDCWD, to, 0); }

int unlinkat(int dirfd, const char *path, int flags)
{
    pthread_mutex_lock(&watch_lock);
    struct place place = locate(dirfd, path);
    bool folder = flags & AT_REMOVEDIR;
    uint64_t id = place.inside && !folder ? journal_save(place.path) : 0;
    long r = syscall(SYS_unlinkat, dirfd, path, flags);
    int error = errno;
    if (r == 0 && place.inside) {
        if (id) journal_saved_for(id, place.parent);
        journal_put(folder ? 'X' : 'U', place.parent, id, 0, place.path, strlen(place.path));
    } else if (id) {
        journal_drop(id);
    }
    pthread_mutex_unlock(&watch_lock);
    errno = error;
    return (int)r;
}
int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }
int rmdir(const char *path) { return unlinkat(AT_FDCWD, path, AT_REMOVEDIR); }
int remove(const char *path)
{
    int r = unlink(path);
    return r != 0 && (errno == EISDIR || errno == EPERM) ? rmdir(path) : r;
}

int renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags)
{
    pthread_mutex_lock(&watch_lock);
    struct place old = locate(from_dir, from), fresh = locate(to_dir, to);
    bool inside = old.inside || fresh.inside;
    uint64_t id = fresh.inside && !(flags & RENAME_NOREPLACE) ? journal_save(fresh.path) : 0;
    long r = syscall(SYS_renameat2, from_dir, from, to_dir, to, flags);
    int error = errno;
    if (r == 0 && inside && old.inside && fresh.inside && !(flags & RENAME_EXCHANGE)) {
        char both[2 * PATH_MAX];
        int len = snprintf(both, sizeof both, "%s%c%s", old.path, 0, fresh.path);
        if (id) journal_saved_for(id, fresh.parent);
        journal_put('R', old.parent, fresh.parent, id, both, (size_t)len);
    } else {
        if (id) journal_drop(id);
        static const char words[] = "a name was moved across the watched directory's border, or two were exchanged";
        if (r == 0 && inside) journal_put('!', 0, 0, 0, words, sizeof words - 1);
    }
    pthread_mutex_unlock(&watch_lock);
    errno = error;
    return (int)r;
}
int renameat(int from_dir, const char *from, int to_dir, const char *to)
{
    return renameat2(from_dir, from, to_dir, to, 0);
}
int rename(const char *from, const char *to) { return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0); }
