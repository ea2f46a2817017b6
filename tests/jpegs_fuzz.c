/* Makes damaged JPEGs, several in one call and in several threads, in buffers of exactly their size; made to run under
 * sanitizers. Usage: jpegs_fuzz LIBJPEG ROUNDS FILE... */

#include <dlfcn.h>
#include <stdio.h>

#include "jpegs.c"
#include "resample.c"
#include "xorshift.h"

enum { THREADS = 3, TOGETHER = 5, SIDE = 40 };

static const char *const NAMES[] = {
    "jpeg_std_error",   "jpeg_CreateDecompress", "jpeg_destroy_decompress", "jpeg_mem_src",
    "jpeg_read_header", "jpeg_start_decompress", "jpeg_crop_scanline",      "jpeg_skip_scanlines",
    "jpeg_read_scanlines", "jpeg_finish_decompress", "jpeg_abort_decompress",
};
static void *library[sizeof NAMES / sizeof *NAMES];
static struct file {
    uint8_t *data;
    size_t size;
} *files;
static uint64_t file_count;
static int rounds;
static long outcomes[2];
static pthread_mutex_t dice = PTHREAD_MUTEX_INITIALIZER;

static uint64_t drawn(uint64_t below) {
    pthread_mutex_lock(&dice);
    const uint64_t value = draw(below);
    pthread_mutex_unlock(&dice);
    return value;
}

static struct file read_all(const char *path) {
    struct file whole = {malloc(1 << 20), 0};
    FILE *file = fopen(path, "rb");
    whole.size = file ? fread(whole.data, 1, 1 << 20, file) : 0;
    if (file)
        fclose(file);
    return whole;
}

/* In the headers as often as in the rest; some are left as they are. */
static struct picture damaged(void) {
    const struct file *whole = &files[drawn(file_count)];
    const size_t size = drawn(8) ? whole->size : 1 + drawn(whole->size);
    uint8_t *data = malloc(size);
    memcpy(data, whole->data, size);
    for (uint64_t times = drawn(4); times > 0; times--)
        data[drawn(drawn(2) || size < 700 ? size : 700)] ^= (uint8_t)(1 << drawn(8));
    return (struct picture){.data = data, .size = (int64_t)size};
}

static struct window inside_of(int64_t height, int64_t width) {
    const int64_t top = (int64_t)drawn((uint64_t)height), left = (int64_t)drawn((uint64_t)width);
    return (struct window){top, left, 1 + (int64_t)drawn((uint64_t)(height - top)),
                           1 + (int64_t)drawn((uint64_t)(width - left))};
}

/* A part of a window, both of which are inside, as a rule. */
static void place(struct picture *picture) {
    const int64_t height = picture->height, width = picture->width;
    if (!height || height * width > 1 << 20)
        return;
    picture->window = inside_of(height, width);
    picture->new_height = 1 + (int64_t)drawn(SIDE);
    picture->new_width = 1 + (int64_t)drawn(SIDE);
    picture->wanted = inside_of(picture->new_height, picture->new_width);
    picture->window.down += !drawn(20);
    picture->wanted.across += !drawn(20);
    picture->bicubic = (int64_t)drawn(2);
    picture->mirrored = (int64_t)drawn(2);
    picture->upside_down = (int64_t)drawn(2);
    picture->out = malloc((size_t)(picture->wanted.down * picture->wanted.across * 3));
}

/* All of it, at one of the sizes that there are. */
static void decode_one(const struct picture *picture) {
    const int64_t factor = 1 << drawn(4), height = picture->height, width = picture->width;
    if (!height || height * width > 1 << 20)
        return;
    uint8_t *out = malloc((size_t)(smaller(height, factor) * smaller(width, factor) * 3));
    headrace_decode_jpeg((const struct libjpeg *)library, picture->data, picture->size, height, width, factor, out);
    free(out);
}

static void *make_many(void *unused) {
    for (int round = 0; round < rounds; round++) {
        struct picture pictures[TOGETHER];
        for (int i = 0; i < TOGETHER; i++)
            pictures[i] = damaged();
        headrace_look(pictures, TOGETHER);
        for (int i = 0; i < TOGETHER; i++)
            place(&pictures[i]);
        headrace_make_jpegs((const struct libjpeg *)library, pictures, TOGETHER, best_kernel(), (int)drawn(2));
        for (int i = 0; i < TOGETHER; i++) {
            decode_one(&pictures[i]);
            __atomic_add_fetch(&outcomes[pictures[i].made], 1, __ATOMIC_SEQ_CST);
            free(pictures[i].out);
            free((void *)pictures[i].data);
        }
    }
    return unused;
}

int main(int count, char **arguments) {
    void *handle = count > 3 ? dlopen(arguments[1], RTLD_NOW) : NULL;
    pthread_t threads[THREADS];
    for (size_t i = 0; handle && i < sizeof NAMES / sizeof *NAMES; i++)
        library[i] = dlsym(handle, NAMES[i]);
    if (!library[0])
        return 2;
    rounds = atoi(arguments[2]);
    file_count = (uint64_t)count - 3;
    files = calloc(file_count, sizeof *files);
    for (uint64_t i = 0; i < file_count; i++)
        files[i] = read_all(arguments[3 + i]);
    for (int i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, make_many, NULL);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    printf("%ld made, %ld left\n", outcomes[1], outcomes[0]);
    return !outcomes[0] || !outcomes[1];
}
