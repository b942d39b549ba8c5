/*
 * Remembers, for every file below $HUTONG_POWERCUT_DIR, what a power cut would take away.
 *
 * kill -9 alone cannot show a missing fsync: the page cache survives the process. Loaded with LD_PRELOAD, this
 * library writes an undo log to $HUTONG_POWERCUT_JOURNAL (a folder outside that directory, on the same file system)
 * before each change, and notes each fsync. After the kill, tests/src/powercut takes back, last change first, whatever no
 * sync had covered. The model is the harshest one POSIX allows:
 *   - file content returns to what it was at the file's last fsync or fdatasync;
 *   - a created, renamed or removed name returns unless its directory was fsynced afterwards.
 * One thing is taken more kindly, as journaling file systems do: a new directory stays once anything in it was synced.
 *
 * $HUTONG_POWERCUT_SYNC_MS, if set, makes every sync of a watched file take so many milliseconds longer, as on a slow
 * disk: what a program wrongly does before a sync has returned then stands open long enough to be hit.
 *
 * Not seen: stdio (RocksDB's LOG file), and programs that make system calls without libc. Shared writable mappings
 * are reported as a warning, which the Rust side turns into an error.
 *
 * This file watches contents and syncs, names.c opening and names; faults.c lets syncs and reads fail. All calls go to the kernel through syscall(2), so that nothing has to be looked up before the first use. One lock
 * guards everything but the syncs themselves. The log's format: journal.h.
 */
#define _GNU_SOURCE
#include "journal.h"
#include "watch.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

struct inode {
    uint64_t ino;
    uint64_t base;  /* size at the last sync, or when first seen */
    bool recorded;  /* the base stands in the log since the last sync */
    struct inode *next;
};

pthread_mutex_t watch_lock = PTHREAD_MUTEX_INITIALIZER;
bool watch_ready;
unsigned char watch_fds[1 << 20];
static char root[PATH_MAX];
static size_t root_len;
static long sync_ms;
static struct inode *inodes[4096];

__attribute__((constructor)) static void start(void)
{
    const char *dir = getenv("HUTONG_POWERCUT_DIR");
    const char *journal = getenv("HUTONG_POWERCUT_JOURNAL");
    if (!dir || !journal) return;
    if (!realpath(dir, root) || !journal_open(journal)) {
        fprintf(stderr, "powercut: cannot start in %s with the journal %s: %s\n", dir, journal, strerror(errno));
        abort();
    }
    root_len = strlen(root);
    const char *slow = getenv("HUTONG_POWERCUT_SYNC_MS");
    if (slow) sync_ms = strtol(slow, NULL, 10);
    watch_ready = true;
}

/* ---- what is watched ---- */

bool watch_inside(const char *path)
{
    return strncmp(path, root, root_len) == 0 && (path[root_len] == '/' || path[root_len] == 0);
}

bool watch_path_of(int fd, char *path)
{
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = syscall(SYS_readlinkat, AT_FDCWD, link, path, PATH_MAX - 1);
    if (n < 0) return false;
    path[n] = 0;
    return true;
}

int watched(int fd) { return watch_ready && fd >= 0 && fd < (int)sizeof watch_fds ? watch_fds[fd] : 0; }

/* True when `fd` still is the file that was opened; a number closed behind our back may have become a socket. */
static bool still_file(int fd, struct stat *st)
{
    if (fstat(fd, st) == 0 && S_ISREG(st->st_mode)) return true;
    watch_fds[fd] = 0;
    return false;
}

static struct inode *inode_of(uint64_t ino, uint64_t size)
{
    struct inode **slot = &inodes[ino % 4096], *n;
    for (n = *slot; n; n = n->next)
        if (n->ino == ino) return n;
    n = malloc(sizeof *n);
    if (!n) abort();
    *n = (struct inode){.ino = ino, .base = size, .next = *slot};
    return *slot = n;
}

void watch_new_inode(uint64_t ino)
{
    struct inode *n = inode_of(ino, 0);
    n->base = 0;
    n->recorded = false;
}

/* ---- file content ---- */

/* Puts into the log what is needed to undo a change of bytes [from, to) of a file that has `size` bytes now. */
void before_change(int fd, const struct stat *st, uint64_t from, uint64_t to)
{
    struct inode *n = inode_of(st->st_ino, (uint64_t)st->st_size);
    uint64_t known = (uint64_t)st->st_size < n->base ? (uint64_t)st->st_size : n->base;
    uint64_t stop = to < known ? to : known;
    if (from >= stop) {
        /* Only bytes past the synced size change: cutting the file back undoes them all. */
        if (!n->recorded) journal_put('W', n->ino, n->base, from, NULL, 0);
        n->recorded = true;
        return;
    }
    size_t len = stop - from;
    char *image = malloc(len);
    char self[64];
    snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
    int reader = syscall(SYS_openat, AT_FDCWD, self, O_RDONLY | O_CLOEXEC);
    if (!image || reader < 0) abort();
    for (size_t done = 0; done < len;) {
        ssize_t r = syscall(SYS_pread64, reader, image + done, len - done, (off_t)(from + done));
        if (r <= 0) abort();
        done += (size_t)r;
    }
    syscall(SYS_close, reader);
    journal_put('W', n->ino, n->base, from, image, len);
    n->recorded = true;
    free(image);
}

/* From here on a change counts as unsynced again; the records before `journal_end()` are covered if the sync succeeds. */
static uint64_t before_sync(const struct stat *st)
{
    struct inode *n = inode_of(st->st_ino, 0);
    n->base = (uint64_t)st->st_size;
    n->recorded = false;
    return journal_end();
}

static void file_synced(int fd, uint64_t ino, uint64_t upto)
{
    char path[PATH_MAX];
    if (!watch_path_of(fd, path)) path[0] = 0;
    journal_put('S', ino, upto, 0, path, strlen(path));
}

enum call { WRITE, PWRITE, WRITEV, PWRITEV };

static long pass(enum call call, int fd, const void *data, size_t count, off_t at, int flags)
{
    switch (call) {
    case WRITE: return syscall(SYS_write, fd, data, count);
    case PWRITE: return syscall(SYS_pwrite64, fd, data, count, at);
    case WRITEV: return syscall(SYS_writev, fd, data, count);
    case PWRITEV: return syscall(SYS_pwritev2, fd, data, count, at, 0, flags);
    }
    abort();
}

static ssize_t changed(enum call call, int fd, const void *data, size_t count, off_t at, int flags)
{
    int kind = watched(fd);
    if (!(kind & FILE_FD)) return pass(call, fd, data, count, at, flags);
    pthread_mutex_lock(&watch_lock);
    struct stat st;
    bool file = still_file(fd, &st);
    if (file) {
        size_t len = count;
        if (call == WRITEV || call == PWRITEV) {
            len = 0;
            for (size_t i = 0; i < count; i++) len += ((const struct iovec *)data)[i].iov_len;
        }
        bool placed = (call == PWRITE || call == PWRITEV) && at >= 0;
        off_t from = kind & APPENDS ? st.st_size : placed ? at : syscall(SYS_lseek, fd, 0, SEEK_CUR);
        before_change(fd, &st, (uint64_t)from, (uint64_t)from + len);
    }
    long done = pass(call, fd, data, count, at, flags);
    int error = errno;
    if (file && done >= 0 && (kind & WRITES_THROUGH || flags & (RWF_SYNC | RWF_DSYNC)) && fstat(fd, &st) == 0)
        file_synced(fd, st.st_ino, before_sync(&st));
    pthread_mutex_unlock(&watch_lock);
    errno = error;
    return done;
}

ssize_t write(int fd, const void *b, size_t n) { return changed(WRITE, fd, b, n, 0, 0); }
ssize_t pwrite(int fd, const void *b, size_t n, off_t at) { return changed(PWRITE, fd, b, n, at, 0); }
ssize_t pwrite64(int fd, const void *b, size_t n, off_t at) { return changed(PWRITE, fd, b, n, at, 0); }
ssize_t writev(int fd, const struct iovec *v, int n) { return changed(WRITEV, fd, v, (size_t)n, 0, 0); }
ssize_t pwritev(int fd, const struct iovec *v, int n, off_t at) { return changed(PWRITEV, fd, v, (size_t)n, at, 0); }
ssize_t pwritev64(int fd, const struct iovec *v, int n, off_t at) { return pwritev(fd, v, n, at); }
ssize_t pwritev2(int fd, const struct iovec *v, int n, off_t at, int flags)
{
    return changed(PWRITEV, fd, v, (size_t)n, at, flags);
}
ssize_t pwritev64v2(int fd, const struct iovec *v, int n, off_t at, int flags) { return pwritev2(fd, v, n, at, flags); }

/* Truncation and allocation: both change the size, the first takes bytes away, hole punching too. */
static long resized(int fd, off_t len, bool allocate, int mode, off_t at)
{
    bool file = false;
    struct stat st;
    if (watched(fd) & FILE_FD) {
        pthread_mutex_lock(&watch_lock);
        file = still_file(fd, &st);
        if (!file) pthread_mutex_unlock(&watch_lock);
    }
    if (file && !allocate) before_change(fd, &st, (uint64_t)len, UINT64_MAX);
    if (file && allocate && mode == 0) before_change(fd, &st, UINT64_MAX, UINT64_MAX);
    if (file && allocate && mode & ~FALLOC_FL_KEEP_SIZE) before_change(fd, &st, (uint64_t)at, UINT64_MAX);
    long r = allocate ? syscall(SYS_fallocate, fd, mode, at, len) : syscall(SYS_ftruncate, fd, len);
    if (file) pthread_mutex_unlock(&watch_lock);
    return r;
}

int ftruncate(int fd, off_t len) { return (int)resized(fd, len, false, 0, 0); }
int ftruncate64(int fd, off_t len) { return (int)resized(fd, len, false, 0, 0); }
int fallocate(int fd, int mode, off_t at, off_t len) { return (int)resized(fd, len, true, mode, at); }
int fallocate64(int fd, int mode, off_t at, off_t len) { return (int)resized(fd, len, true, mode, at); }
int posix_fallocate(int fd, off_t at, off_t len) { return resized(fd, len, true, 0, at) == 0 ? 0 : errno; }
int posix_fallocate64(int fd, off_t at, off_t len) { return posix_fallocate(fd, at, len); }

/* Refused, so that the caller falls back to reading and writing, which is watched. */
ssize_t copy_file_range(int in, off64_t *in_at, int out, off64_t *out_at, size_t len, unsigned flags)
{
    if (watched(out)) return errno = ENOSYS, -1;
    return syscall(SYS_copy_file_range, in, in_at, out, out_at, len, flags);
}
ssize_t sendfile(int out, int in, off_t *at, size_t len)
{
    if (watched(out)) return errno = ENOSYS, -1;
    return syscall(SYS_sendfile, out, in, at, len);
}
ssize_t sendfile64(int out, int in, off_t *at, size_t len) { return sendfile(out, in, at, len); }

void *mmap(void *addr, size_t len, int prot, int flags, int fd, off_t at)
{
    if (fd >= 0 && flags & MAP_SHARED && prot & PROT_WRITE && watched(fd) & FILE_FD) {
        static const char words[] = "a file is written through a shared mapping";
        pthread_mutex_lock(&watch_lock);
        journal_put('!', 0, 0, 0, words, sizeof words - 1);
        pthread_mutex_unlock(&watch_lock);
    }
    return (void *)syscall(SYS_mmap, addr, len, prot, flags, fd, at);
}
void *mmap64(void *addr, size_t len, int prot, int flags, int fd, off_t at) { return mmap(addr, len, prot, flags, fd, at); }

/* ---- syncs ---- */

static int synced(int fd, long call)
{
    int kind = watched(fd);
    struct stat st;
    if (!kind || fstat(fd, &st) != 0) return (int)syscall(call, fd);
    pthread_mutex_lock(&watch_lock);
    uint64_t upto = S_ISREG(st.st_mode) && fstat(fd, &st) == 0 ? before_sync(&st) : journal_end();
    pthread_mutex_unlock(&watch_lock);
    /* Not under the lock: writes that arrive during the sync stand behind `upto` and stay uncovered. */
    struct timespec slow = {sync_ms / 1000, sync_ms % 1000 * 1000000};
    if (sync_ms > 0) nanosleep(&slow, NULL);
    int r, error;
    if (fault_of_sync(fd, &st)) {
        r = -1;
        error = EIO;
    } else {
        r = (int)syscall(call, fd);
        error = errno;
    }
    if (r == 0) {
        pthread_mutex_lock(&watch_lock);
        if (S_ISREG(st.st_mode)) {
            file_synced(fd, st.st_ino, upto);
        } else if (S_ISDIR(st.st_mode)) {
            char path[PATH_MAX];
            if (!watch_path_of(fd, path)) path[0] = 0;
            journal_put('D', st.st_ino, upto, 0, path, strlen(path));
            journal_release(st.st_ino, upto);
        }
        pthread_mutex_unlock(&watch_lock);
    }
    errno = error;
    return r;
}

int fsync(int fd) { return synced(fd, SYS_fsync); }
int fdatasync(int fd) { return synced(fd, SYS_fdatasync); }

/* Later writes to files already seen must be logged again, hence the walk over all of them. */
static int all_synced(long call, int fd)
{
    pthread_mutex_lock(&watch_lock);
    long r = syscall(call, fd);
    if (watch_ready && r == 0) {
        for (size_t i = 0; i < 4096; i++)
            while (inodes[i]) {
                struct inode *n = inodes[i];
                inodes[i] = n->next;
                free(n);
            }
        journal_put('A', 0, journal_end(), 0, NULL, 0);
    }
    pthread_mutex_unlock(&watch_lock);
    return (int)r;
}
void sync(void) { all_synced(SYS_sync, 0); }
int syncfs(int fd) { return all_synced(SYS_syncfs, fd); }
