/* Preloaded into a process, makes it wait before it opens a file to read: storage with latency, whoever reads.
 *
 * SLOW_SECONDS says how long, SLOW_FOLDER how the names of the files begin. */

#define _GNU_SOURCE

#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <time.h>

typedef int opening(const char *path, int flags, ...);

static void wait_for(const char *path, int flags) {
    const char *folder = getenv("SLOW_FOLDER"), *words = getenv("SLOW_SECONDS");
    if (!folder || !words || flags & (O_DIRECTORY | O_WRONLY | O_RDWR) || strncmp(path, folder, strlen(folder)))
        return;
    const double seconds = atof(words);
    struct timespec rest = {.tv_sec = (time_t)seconds, .tv_nsec = (long)((seconds - (double)(time_t)seconds) * 1e9)};
    while (nanosleep(&rest, &rest))
        ;
}

static int open_late(const char *name, const char *path, int flags, mode_t mode) {
    wait_for(path, flags);
    opening *const real = (opening *)dlsym(RTLD_NEXT, name);
    return real(path, flags, mode);
}

static mode_t mode_of(int flags, va_list rest) {
    return flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE ? va_arg(rest, mode_t) : 0;
}

int open(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    const mode_t mode = mode_of(flags, rest);
    va_end(rest);
    return open_late("open", path, flags, mode);
}

int open64(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    const mode_t mode = mode_of(flags, rest);
    va_end(rest);
    return open_late("open64", path, flags, mode);
}
