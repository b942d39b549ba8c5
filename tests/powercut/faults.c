/*
 * The part of the power-cut library that lets a disk fail; see powercut.c.
 *
 * $HUTONG_POWERCUT_FAULTS names a folder of orders. Each order is a file that holds a part of a path:
 *   sync   the next sync of a watched file with that in its path fails with EIO, once, and does nothing;
 *   read   every read of a watched file with that in its path fails with EIO, as long as the order stands.
 * What came of it is added to the file `done` there: "failed PATH", and "again PATH" for every later sync of a file
 * whose sync had failed: the kernel may let that succeed although the data are gone, so no program may count on it.
 */
#define _GNU_SOURCE
#include "watch.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static char folder[PATH_MAX / 2];
static uint64_t failed_inode;

__attribute__((constructor)) static void start(void)
{
    const char *orders = getenv("HUTONG_POWERCUT_FAULTS");
    if (orders && strlen(orders) < sizeof folder) strcpy(folder, orders);
}

static void report(const char *word, const char *path)
{
    char name[PATH_MAX], line[PATH_MAX + 16];
    snprintf(name, sizeof name, "%s/done", folder);
    int fd = (int)syscall(SYS_openat, AT_FDCWD, name, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) return;
    int length = snprintf(line, sizeof line, "%s %s\n", word, path);
    if (length > 0) syscall(SYS_write, fd, line, (size_t)length);
    syscall(SYS_close, fd);
}

/* Whether an order of this name stands and speaks of this path. */
static bool ordered(const char *order, const char *path)
{
    char name[PATH_MAX], part[PATH_MAX];
    snprintf(name, sizeof name, "%s/%s", folder, order);
    int fd = (int)syscall(SYS_openat, AT_FDCWD, name, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    long length = syscall(SYS_read, fd, part, sizeof part - 1);
    syscall(SYS_close, fd);
    if (length <= 0) return false;
    part[length] = 0;
    return strstr(path, part) != NULL;
}

bool fault_of_sync(int fd, const struct stat *st)
{
    char path[PATH_MAX], name[PATH_MAX];
    if (!folder[0] || !watch_path_of(fd, path)) return false;
    if (failed_inode && failed_inode == st->st_ino) report("again", path);
    if (!ordered("sync", path)) return false;
    snprintf(name, sizeof name, "%s/sync", folder);
    /* Of several threads the one that takes the order away fails. */
    if (syscall(SYS_unlinkat, AT_FDCWD, name, 0) != 0) return false;
    failed_inode = st->st_ino;
    report("failed", path);
    return true;
}

static bool fault_of_read(int fd)
{
    char path[PATH_MAX];
    int error = errno;
    bool fails = folder[0] && watched(fd) & FILE_FD && watch_path_of(fd, path) && ordered("read", path);
    if (fails) report("failed", path);
    errno = fails ? EIO : error;
    return fails;
}

ssize_t read(int fd, void *to, size_t count)
{
    return fault_of_read(fd) ? -1 : syscall(SYS_read, fd, to, count);
}
ssize_t pread(int fd, void *to, size_t count, off_t at)
{
    return fault_of_read(fd) ? -1 : syscall(SYS_pread64, fd, to, count, at);
}
ssize_t pread64(int fd, void *to, size_t count, off_t at) { return pread(fd, to, count, at); }
ssize_t readv(int fd, const struct iovec *to, int count)
{
    return fault_of_read(fd) ? -1 : syscall(SYS_readv, fd, to, count);
}
