/*
 * The power-cut journal: an append-only undo log, one file per process, read by tests/src/powercut.
 *
 * Layout of a record (little endian): u8 kind, 3 zero bytes, u32 payload length, u64 a, u64 b, u64 c, payload.
 *   kind  meaning                                         a            b                c         payload
 *   'W'   before file content changes                     inode        size to restore  offset    bytes that stood there
 *   'S'   file synced; covers this log below b            inode        log offset       -         path
 *   'C'   file created                                    parent       inode            -         path
 *   'U'   file unlinked, kept as saved/<log>-<b>          parent       saved id         -         path
 *   'R'   renamed; what was overwritten is saved id c     old parent   new parent       saved id  old NUL new
 *   'M'   directory made                                  parent       inode            -         path
 *   'X'   directory removed                               parent       -                -         path
 *   'L'   hard link made                                  parent       inode            -         new path
 *   'D'   directory synced; covers this log below b       inode        log offset       -         path
 *   'A'   everything synced (sync, syncfs); ditto         -            log offset       -         -
 *   '!'   something this harness cannot undo              -            -                -         words
 *
 * A 'W' record stands in the log before its write starts, all others after the call has succeeded: a process that
 * dies in between leaves at worst an undo record for a change that did not happen, or a name that reached the disk
 * unasked, which a real file system may do as well.
 */
#ifndef HUTONG_POWERCUT_JOURNAL_H
#define HUTONG_POWERCUT_JOURNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#pragma GCC visibility push(hidden)

/* Opens this process' log under `folder`; false when that fails. */
bool journal_open(const char *folder);

/* Where the next record will stand: a sync that starts now covers everything below. */
uint64_t journal_end(void);

/* Appends one record, or ends the process: a harness that forgets would call lost data safe. */
void journal_put(char kind, uint64_t a, uint64_t b, uint64_t c, const void *payload, size_t len);

/* Keeps the file at `path` as a hard link; its id, or 0 (with a '!' record) when it could not be kept. */
uint64_t journal_save(const char *path);

/* Files saved for directory `dir` whose removal became durable are let go. */
void journal_saved_for(uint64_t id, uint64_t dir);
void journal_release(uint64_t dir, uint64_t upto);
void journal_drop(uint64_t id);

#pragma GCC visibility pop
#endif
