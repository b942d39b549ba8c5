#define _GNU_SOURCE
#include "journal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

struct header {
    char kind;
    char zero[3];
    uint32_t len;
    uint64_t a, b, c;
};

struct saved {
    uint64_t id, dir, at;
    struct saved *next;
};

static char saved_folder[PATH_MAX];
static char stem[64];
static int fd = -1;
static uint64_t end;
static uint64_t last_id;
static struct saved *kept;

bool journal_open(const char *folder)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    /* Names sort by start time, which is the order in which they are undone backwards. */
    snprintf(stem, sizeof stem, "%020llu-%07d", now.tv_sec * 1000000000ULL + now.tv_nsec, (int)getpid());

    char path[PATH_MAX];
    if (snprintf(saved_folder, sizeof saved_folder, "%s/saved", folder) >= PATH_MAX ||
        snprintf(path, sizeof path, "%s/%s.undo", folder, stem) >= PATH_MAX)
        return false;
    syscall(SYS_mkdirat, AT_FDCWD, folder, 0755);
    syscall(SYS_mkdirat, AT_FDCWD, saved_folder, 0755);
    int low = syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0644);
    if (low < 0) return false;
    /* Out of the way of programs that count on low numbers. */
    fd = fcntl(low, F_DUPFD_CLOEXEC, 900);
    if (fd < 0) fd = low;
    else syscall(SYS_close, low);
    return true;
}

uint64_t journal_end(void) { return end; }

void journal_put(char kind, uint64_t a, uint64_t b, uint64_t c, const void *payload, size_t len)
{
    struct header header = {.kind = kind, .len = (uint32_t)len, .a = a, .b = b, .c = c};
    struct iovec parts[2] = {{&header, sizeof header}, {(void *)payload, len}};
    ssize_t total = (ssize_t)(sizeof header + len);
    if (len > UINT32_MAX || syscall(SYS_writev, fd, parts, 2) != total) {
        static const char words[] = "powercut: the journal cannot be written\n";
        syscall(SYS_write, 2, words, sizeof words - 1);
        abort();
    }
    end += (uint64_t)total;
}

static void saved_path(uint64_t id, char *path)
{
    snprintf(path, PATH_MAX, "%.4000s/%s-%llu", saved_folder, stem, (unsigned long long)id);
}

uint64_t journal_save(const char *path)
{
    char keep[PATH_MAX];
    saved_path(last_id + 1, keep);
    if (syscall(SYS_linkat, AT_FDCWD, path, AT_FDCWD, keep, 0) != 0) {
        if (errno != ENOENT) {
            static const char words[] = "an unlinked or overwritten file could not be kept";
            journal_put('!', 0, 0, 0, words, sizeof words - 1);
        }
        return 0;
    }
    return ++last_id;
}

void journal_saved_for(uint64_t id, uint64_t dir)
{
    struct saved *entry = malloc(sizeof *entry);
    if (!entry) abort();
    *entry = (struct saved){.id = id, .dir = dir, .at = end, .next = kept};
    kept = entry;
}

void journal_drop(uint64_t id)
{
    char keep[PATH_MAX];
    saved_path(id, keep);
    syscall(SYS_unlinkat, AT_FDCWD, keep, 0);
}

void journal_release(uint64_t dir, uint64_t upto)
{
    struct saved **link = &kept;
    while (*link) {
        struct saved *entry = *link;
        /* A record that stands at `upto` came after the sync had begun. */
        if (entry->dir == dir && entry->at < upto) {
            journal_drop(entry->id);
            *link = entry->next;
            free(entry);
        } else {
            link = &entry->next;
        }
    }
}
