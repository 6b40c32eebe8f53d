/* Counts the calls by which a process changes files below one folder, and makes a chosen one fail, or ends the process at it.
 *
 * Loaded before libc (LD_PRELOAD).  The process itself arms it, through fault_arm(); until then every call goes through.
 * Only calls that change something are counted: opening for writing, writing, syncing, cutting, renaming, removing, making.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

enum { PASS = 0, KILL = -1 };

static char root[PATH_MAX]; /* no call below another folder is counted; empty: none is */
static long counted;        /* calls seen since fault_arm() */
static long chosen;         /* the call that fails, from 1; 0: none */
static int with;            /* KILL, or the errno it fails with */
static int stays;           /* whether every later call fails with it too */
static int diary = -1;      /* where each call is written down; -1: nowhere */

void fault_arm(const char *folder, long call, int error, int stays_broken, int write_to) {
    snprintf(root, sizeof root, "%s", folder);
    counted = 0;
    chosen = call;
    with = error;
    stays = stays_broken;
    diary = write_to;
}

long fault_counted(void) { return counted; }

/* The rest of a name may follow the folder only behind a slash. */
static int below(const char *path) {
    size_t length = strlen(root);
    return length && strncmp(path, root, length) == 0 && (path[length] == '/' || path[length] == 0);
}

static ssize_t (*libc_write)(int, const void *, size_t);

/* The errno with which this call is to fail; PASS if it goes through.  Does not return if the process ends here. */
static int verdict(const char *call, const char *path) {
    if (!below(path)) return PASS;
    counted++;
    if (diary >= 0) {
        char line[PATH_MAX + 64];
        int size = snprintf(line, sizeof line, "%s %s\n", call, path + strlen(root));
        if (libc_write(diary, line, (size_t)size) != size) _exit(99);
    }
    if (!chosen || counted < chosen || (counted > chosen && !stays)) return PASS;
    if (with == KILL) {
        kill(getpid(), SIGKILL);
        for (;;) pause();
    }
    return with;
}

static void name_of(int descriptor, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t size = readlink(link, path, PATH_MAX - 1);
    path[size < 0 ? 0 : size] = 0;
}

/* The name that a path stands for, relative to a folder that is open. */
static void whole_name(int folder, const char *path, char *whole) {
    char base[PATH_MAX];
    if (path[0] == '/') {
        snprintf(whole, PATH_MAX, "%s", path);
        return;
    }
    if (folder == AT_FDCWD) {
        if (!getcwd(base, sizeof base)) base[0] = 0;
    } else {
        name_of(folder, base);
    }
    if (snprintf(whole, PATH_MAX, "%s/%s", base, path) >= PATH_MAX) whole[0] = 0;
}

#define REAL(type, name, ...)                                     \
    static type (*real)(__VA_ARGS__);                             \
    if (!real) real = (type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

/* Ends the function it stands in if this call is to fail; ``named`` writes the name of the file to ``whole``. */
#define FAIL(call, named)                                         \
    do {                                                          \
        char whole[PATH_MAX];                                     \
        named;                                                    \
        int error = verdict(call, whole);                         \
        if (error) {                                              \
            errno = error;                                        \
            return -1;                                            \
        }                                                         \
    } while (0)
#define FAIL_AT(call, folder, path) FAIL(call, whole_name(folder, path, whole))
#define FAIL_ON(call, descriptor) FAIL(call, name_of(descriptor, whole))

#define OPENS(name)                                               \
    int name(const char *path, int flags, ...) {                  \
        REAL(int, #name, const char *, int, ...);                 \
        va_list more;                                             \
        va_start(more, flags);                                    \
        mode_t mode = (flags & (O_CREAT | O_TMPFILE)) ? va_arg(more, mode_t) : 0; \
        va_end(more);                                             \
        if (flags & (O_CREAT | O_TRUNC | O_WRONLY | O_RDWR)) FAIL_AT("open", AT_FDCWD, path); \
        return real(path, flags, mode);                           \
    }
OPENS(open)
OPENS(open64)

#define OPENS_AT(name)                                            \
    int name(int folder, const char *path, int flags, ...) {      \
        REAL(int, #name, int, const char *, int, ...);            \
        va_list more;                                             \
        va_start(more, flags);                                    \
        mode_t mode = (flags & (O_CREAT | O_TMPFILE)) ? va_arg(more, mode_t) : 0; \
        va_end(more);                                             \
        if (flags & (O_CREAT | O_TRUNC | O_WRONLY | O_RDWR)) FAIL_AT("open", folder, path); \
        return real(folder, path, flags, mode);                   \
    }
OPENS_AT(openat)
OPENS_AT(openat64)

ssize_t write(int descriptor, const void *data, size_t size) {
    if (!libc_write) libc_write = (ssize_t(*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
    FAIL_ON("write", descriptor);
    return libc_write(descriptor, data, size);
}

#define WRITES_AT(name, offset_t)                                 \
    ssize_t name(int descriptor, const void *data, size_t size, offset_t offset) { \
        REAL(ssize_t, #name, int, const void *, size_t, offset_t); \
        FAIL_ON("write", descriptor);                             \
        return real(descriptor, data, size, offset);              \
    }
WRITES_AT(pwrite, off_t)
WRITES_AT(pwrite64, off64_t)

#define SYNCS(name)                                               \
    int name(int descriptor) {                                    \
        REAL(int, #name, int);                                    \
        FAIL_ON("fsync", descriptor);                             \
        return real(descriptor);                                  \
    }
SYNCS(fsync)
SYNCS(fdatasync)

#define CUTS(name, offset_t)                                      \
    int name(int descriptor, offset_t size) {                     \
        REAL(int, #name, int, offset_t);                          \
        FAIL_ON("ftruncate", descriptor);                         \
        return real(descriptor, size);                            \
    }
CUTS(ftruncate, off_t)
CUTS(ftruncate64, off64_t)

int rename(const char *from, const char *to) {
    REAL(int, "rename", const char *, const char *);
    FAIL_AT("rename", AT_FDCWD, to);
    return real(from, to);
}

int renameat(int from_folder, const char *from, int to_folder, const char *to) {
    REAL(int, "renameat", int, const char *, int, const char *);
    FAIL_AT("rename", to_folder, to);
    return real(from_folder, from, to_folder, to);
}

int unlink(const char *path) {
    REAL(int, "unlink", const char *);
    FAIL_AT("unlink", AT_FDCWD, path);
    return real(path);
}

int unlinkat(int folder, const char *path, int flags) {
    REAL(int, "unlinkat", int, const char *, int);
    FAIL_AT("unlink", folder, path);
    return real(folder, path, flags);
}

int rmdir(const char *path) {
    REAL(int, "rmdir", const char *);
    FAIL_AT("rmdir", AT_FDCWD, path);
    return real(path);
}

int mkdir(const char *path, mode_t mode) {
    REAL(int, "mkdir", const char *, mode_t);
    FAIL_AT("mkdir", AT_FDCWD, path);
    return real(path, mode);
}

int mkdirat(int folder, const char *path, mode_t mode) {
    REAL(int, "mkdirat", int, const char *, mode_t);
    FAIL_AT("mkdir", folder, path);
    return real(folder, path, mode);
}
