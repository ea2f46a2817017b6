/* Several files read in one call, so that a thread lets go of the interpreter's lock once for all of them. */

#define _GNU_SOURCE
#define _DARWIN_C_SOURCE

#include <string.h>

#include "files.h"

/* A file of which `size` bytes, of that time of modification, are wanted in `out`. */
struct wanted {
    uint8_t *out;
    int64_t size, mtime_ns, whole; /* whole: whether it was as wanted */
};

/* Reads files, the first in any case and others while no more than `patience` nanoseconds have passed; how many. Their
 * paths follow each other, each with its end. The number of the one under way is in `at`, for others to see. */
int64_t headrace_read_run(const char *paths, struct wanted *files, int64_t count, int64_t patience,
                          volatile int64_t *at) {
    const int64_t began = now();
    int64_t i = 0;
    while (i < count && (!i || now() - began < patience)) {
        *at = i;
        files[i].whole = read_file(paths, files[i].out, files[i].size, files[i].mtime_ns);
        paths += strlen(paths) + 1;
        i++;
    }
    return i;
}
