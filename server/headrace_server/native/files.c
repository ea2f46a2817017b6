/* Reading a file of a known size in one call, so that the interpreter's lock is let go of once and not four times. */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/stat.h>
#include <unistd.h>

#if defined(__APPLE__)
#define MODIFIED st_mtimespec
#else
#define MODIFIED st_mtim
#endif

/* Up to `size` bytes into `data`; `found` is how many there were, the file's size and its time of modification in
 * nanoseconds, both after it was read, so that a change in between shows. Returns 0, or what errno says. */
int headrace_read_file(const char *path, int64_t size, char *data, int64_t found[3]) {
    /* Without O_NONBLOCK a pipe that took the file's place would hold the thread for ever. */
    const int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (file < 0)
        return errno;
    int64_t done = 0;
    ssize_t count = 1;
    while (done < size && count > 0) {
        count = read(file, data + done, (size_t)(size - done));
        if (count > 0)
            done += count;
        else if (count < 0 && errno == EINTR)
            count = 1;
    }
    struct stat status;
    const int error = count < 0 || fstat(file, &status) ? errno : 0;
    close(file);
    if (error)
        return error;
    found[0] = done;
    found[1] = (int64_t)status.st_size;
    found[2] = (int64_t)status.MODIFIED.tv_sec * 1000000000 + status.MODIFIED.tv_nsec;
    return 0;
}
