/* What powercut.c (contents, syncs) and names.c (opening, names) share. */
#ifndef HUTONG_POWERCUT_WATCH_H
#define HUTONG_POWERCUT_WATCH_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#pragma GCC visibility push(hidden)

/* What is known about a descriptor; 0 = not below the watched directory. */
enum { FILE_FD = 1, DIR_FD = 2, APPENDS = 4, WRITES_THROUGH = 8 };

extern pthread_mutex_t watch_lock;
extern bool watch_ready;
extern unsigned char watch_fds[1 << 20];

int watched(int fd);
bool watch_inside(const char *path);
/* The canonical path behind a descriptor, into a buffer of PATH_MAX bytes. */
bool watch_path_of(int fd, char *path);
/* A file came into being: what was known of its inode number is about a former file. */
void watch_new_inode(uint64_t ino);
/* To be called before bytes [from, to) of the file behind `fd` change. */
void before_change(int fd, const struct stat *st, uint64_t from, uint64_t to);
/* Whether this sync has been ordered to fail; see faults.c. */
bool fault_of_sync(int fd, const struct stat *st);

#pragma GCC visibility pop
#endif
