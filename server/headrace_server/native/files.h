/* A file read as it was when it was indexed. Included where _GNU_SOURCE and _DARWIN_C_SOURCE are defined. */

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#ifdef __APPLE__
#define st_mtim st_mtimespec
#endif

enum { NANOSECONDS = 1000000000 };

static int64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * NANOSECONDS + time.tv_nsec;
}

static int read_whole(int file, uint8_t *out, int64_t size) {
    while (size) {
        const ssize_t count = read(file, out, (size_t)size);
        if (count < 0 && errno == EINTR)
            continue;
        if (count <= 0)
            return 0;
        out += count;
        size -= count;
    }
    return 1;
}

/* Whether the file has `size` bytes, which are in `out` now, and that time of modification. Its status is asked for
 * behind the reading, so that a change in between shows. */
static int read_file(const char *path, uint8_t *out, int64_t size, int64_t mtime_ns) {
    struct stat status;
    /* without O_NONBLOCK a pipe that took the file's place would hold the thread for ever */
    const int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (file < 0)
        return 0;
    const int whole = read_whole(file, out, size) && !fstat(file, &status) && status.st_size == size &&
                      (int64_t)status.st_mtim.tv_sec * NANOSECONDS + status.st_mtim.tv_nsec == mtime_ns;
    close(file);
    return whole;
}
