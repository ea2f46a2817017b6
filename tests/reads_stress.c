/* Reads files with all threads at once, and closes at a random moment; made to run under sanitizers. Fails where a file
 * comes out wrong, twice or not at all. Usage: reads_stress ROUNDS FILE... */

#include "reads.c"

#include <stdio.h>

#include "xorshift.h"

enum { JOBS = 300, MOST = 7 };

static struct file {
    const char *path;
    int64_t size, mtime_ns;
} *files;

static struct attempt {
    struct reads *reads;
    uint8_t *out[JOBS];
    int64_t size[JOBS], wrong[JOBS]; /* wrong: asked for with another size */
    int outcomes[JOBS], bad, collected;
} *attempt;

static void check(const struct outcome *outcome) {
    const int64_t id = outcome->id, size = attempt->size[id];
    attempt->outcomes[id]++;
    attempt->bad |= outcome->whole == attempt->wrong[id] || outcome->seconds < 0;
    for (int64_t i = 1; outcome->whole && i < size; i++)
        attempt->bad |= attempt->out[id][i] != attempt->out[id][0];
}

static void *collect(void *unused) {
    struct outcome outcomes[MOST];
    int64_t count;
    while ((count = headrace_reads_collect(attempt->reads, outcomes, MOST, 100000))) {
        for (int64_t i = 0; i < count; i++)
            check(&outcomes[i]);
        __atomic_add_fetch(&attempt->collected, count, __ATOMIC_SEQ_CST);
    }
    return unused;
}

static int submit(int64_t id, int count) {
    const struct file *file = &files[draw((uint64_t)count)];
    attempt->wrong[id] = !draw(10);
    attempt->size[id] = file->size + attempt->wrong[id];
    attempt->out[id] = malloc((size_t)attempt->size[id] + 1);
    return headrace_reads_submit(attempt->reads, 1 + (int64_t)draw(20), file->path, attempt->out[id], attempt->size[id],
                                 file->mtime_ns, id);
}

static int run(int count) {
    pthread_t collector;
    const int64_t jobs = (int64_t)draw(JOBS + 1), patient = draw(2);
    attempt = calloc(1, sizeof *attempt);
    attempt->reads = headrace_reads();
    pthread_create(&collector, NULL, collect, NULL);
    for (int64_t id = 0; id < jobs; id++)
        if (submit(id, count))
            return 0;
    while (patient && __atomic_load_n(&attempt->collected, __ATOMIC_SEQ_CST) < jobs)
        usleep(100);
    headrace_reads_close(attempt->reads);
    pthread_join(collector, NULL);
    for (int64_t id = 0; id < jobs; id++)
        attempt->bad |= attempt->outcomes[id] > 1 || (patient && !attempt->outcomes[id]);
    return !attempt->bad; /* what was asked for stays: a thread may still be reading */
}

int main(int count, char **arguments) {
    const int of_files = count - 2;
    files = calloc((size_t)of_files, sizeof *files);
    for (int i = 0; i < of_files; i++) {
        struct stat status;
        stat(arguments[i + 2], &status);
        files[i].path = arguments[i + 2];
        files[i].size = status.st_size;
        files[i].mtime_ns = (int64_t)status.st_mtim.tv_sec * NANOSECONDS + status.st_mtim.tv_nsec;
    }
    static struct attempt *attempts[1000]; /* so that they are not taken for lost */
    for (int i = 0; i < atoi(arguments[1]) && i < 1000; i++) {
        const int fine = run(of_files);
        attempts[i] = attempt;
        if (!fine) {
            fprintf(stderr, "round %d: %s\n", i, attempts[i]->bad ? "a file came out wrong" : "refused");
            return 1;
        }
    }
    return 0;
}
