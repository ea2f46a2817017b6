/* Files read by threads of our own, so that for a read that takes long nobody waits for the interpreter's lock.
 *
 * Jobs go in one by one, and come out several at a time, in the order in which they end. */

#define _GNU_SOURCE
#define _DARWIN_C_SOURCE

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "files.h"

enum { TAKEN, REFUSED, STACK = 128 * 1024 };

/* A file of which `size` bytes, of that time of modification, are wanted in `out`. */
struct job {
    struct job *next;
    int64_t id, size, mtime_ns;
    uint8_t *out;
    double seconds; /* that it took */
    int whole;      /* whether it was as wanted */
    char path[];
};

struct jobs {
    struct job *first, **end;
    int64_t count;
};

struct reads {
    pthread_mutex_t lock;
    pthread_cond_t begun, ended;
    struct jobs waiting, done;
    int64_t threads, idle; /* idle: those without a job, also if they have been woken for one */
    int closed, users;     /* users: the threads and whoever collects; the last of them frees */
};

struct outcome {
    int64_t id;
    double seconds;
    int64_t whole;
};

static void put(struct jobs *jobs, struct job *job) {
    job->next = NULL;
    *jobs->end = job;
    jobs->end = &job->next;
    jobs->count++;
}

static struct job *take(struct jobs *jobs) {
    struct job *job = jobs->first;
    jobs->first = job->next;
    if (!--jobs->count)
        jobs->end = &jobs->first;
    return job;
}

/* Unlocks, and frees everything for the last user. */
static void leave(struct reads *reads) {
    const int last = !--reads->users;
    pthread_mutex_unlock(&reads->lock);
    if (!last)
        return;
    while (reads->waiting.count)
        free(take(&reads->waiting));
    while (reads->done.count)
        free(take(&reads->done));
    pthread_cond_destroy(&reads->begun);
    pthread_cond_destroy(&reads->ended);
    pthread_mutex_destroy(&reads->lock);
    free(reads);
}

static void *work(void *argument) {
    struct reads *reads = argument;
    pthread_mutex_lock(&reads->lock);
    for (;;) {
        while (!reads->closed && !reads->waiting.count)
            pthread_cond_wait(&reads->begun, &reads->lock);
        if (reads->closed)
            break;
        struct job *job = take(&reads->waiting);
        reads->idle--;
        pthread_mutex_unlock(&reads->lock);
        const int64_t began = now();
        job->whole = read_file(job->path, job->out, job->size, job->mtime_ns);
        job->seconds = (double)(now() - began) / NANOSECONDS;
        pthread_mutex_lock(&reads->lock);
        reads->idle++;
        put(&reads->done, job);
        if (reads->done.count == 1)
            pthread_cond_signal(&reads->ended);
    }
    leave(reads);
    return NULL;
}

/* A thread that no signal reaches: these are the interpreter's. */
static int start(struct reads *reads) {
    pthread_attr_t attributes;
    pthread_t thread;
    sigset_t all, before;
    if (pthread_attr_init(&attributes))
        return 0;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    const int started = !pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED) &&
                        !pthread_attr_setstacksize(&attributes, STACK) &&
                        !pthread_create(&thread, &attributes, work, reads);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return started;
}

static struct job *job_of(const char *path, uint8_t *out, int64_t size, int64_t mtime_ns, int64_t id) {
    const size_t length = strlen(path) + 1;
    struct job *job = calloc(1, sizeof *job + length);
    if (!job)
        return NULL;
    job->id = id;
    job->out = out;
    job->size = size;
    job->mtime_ns = mtime_ns;
    memcpy(job->path, path, length);
    return job;
}

/* NULL without memory. `headrace_reads_collect` frees it, in the end. */
struct reads *headrace_reads(void) {
    struct reads *reads = calloc(1, sizeof *reads);
    if (!reads)
        return NULL;
    reads->waiting.end = &reads->waiting.first;
    reads->done.end = &reads->done.first;
    reads->users = 1;
    pthread_mutex_init(&reads->lock, NULL);
    pthread_cond_init(&reads->begun, NULL);
    pthread_cond_init(&reads->ended, NULL);
    return reads;
}

/* Has a file read by one of `most` threads; `out` must stay until its outcome was collected. REFUSED for want of memory
 * or of any thread. */
int headrace_reads_submit(struct reads *reads, int64_t most, const char *path, uint8_t *out, int64_t size,
                          int64_t mtime_ns, int64_t id) {
    struct job *job = job_of(path, out, size, mtime_ns, id);
    if (!job)
        return REFUSED;
    pthread_mutex_lock(&reads->lock);
    if (reads->idle <= reads->waiting.count && reads->threads < most && start(reads)) {
        reads->threads++;
        reads->users++;
        reads->idle++;
    } else if (reads->idle) {
        pthread_cond_signal(&reads->begun);
    }
    const int taken = reads->threads > 0;
    if (taken)
        put(&reads->waiting, job);
    pthread_mutex_unlock(&reads->lock);
    if (!taken)
        free(job);
    return taken ? TAKEN : REFUSED;
}

/* Waits for outcomes, and gives up to `most` of them; 0 only after `headrace_reads_close`, and `reads` is no more then.
 * The first waits `patience` nanoseconds, less than a second, for others: one turn of the interpreter serves them all. */
int64_t headrace_reads_collect(struct reads *reads, struct outcome *outcomes, int64_t most, int64_t patience) {
    const struct timespec pause = {.tv_nsec = (long)patience};
    int64_t count = 0;
    pthread_mutex_lock(&reads->lock);
    while (!reads->closed && !reads->done.count)
        pthread_cond_wait(&reads->ended, &reads->lock);
    if (!reads->closed && reads->done.count < most) {
        pthread_mutex_unlock(&reads->lock);
        nanosleep(&pause, NULL);
        pthread_mutex_lock(&reads->lock);
    }
    if (reads->closed) {
        leave(reads);
        return 0;
    }
    for (; count < most && reads->done.count; count++) {
        struct job *job = take(&reads->done);
        outcomes[count] = (struct outcome){job->id, job->seconds, job->whole};
        free(job);
    }
    pthread_mutex_unlock(&reads->lock);
    return count;
}

/* Begins no more reads; those under way end when they do. */
void headrace_reads_close(struct reads *reads) {
    pthread_mutex_lock(&reads->lock);
    reads->closed = 1;
    pthread_cond_broadcast(&reads->begun);
    pthread_cond_signal(&reads->ended);
    pthread_mutex_unlock(&reads->lock);
}
