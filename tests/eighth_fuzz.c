/* Decodes damaged JPEGs to an eighth, in buffers of exactly their size; made to run under sanitizers.
 * Usage: eighth_fuzz ROUNDS FILE... */

#include <stdio.h>

#include "eighth.c"
#include "xorshift.h"

static uint8_t *read_file(const char *path, size_t *size) {
    uint8_t *data = malloc(1 << 20);
    FILE *file = fopen(path, "rb");
    *size = file ? fread(data, 1, 1 << 20, file) : 0;
    if (file)
        fclose(file);
    return data;
}

/* In the headers as often as in the rest: bits and bytes changed, and the end cut off. */
static void damage(uint8_t *data, size_t *size) {
    const uint8_t telling[] = {0, 1, 0x7f, 0x80, 0xff, RESTART, END, SCAN};
    for (uint64_t times = draw(4); times > 0; times--) {
        uint8_t *at = data + draw(draw(2) ? *size : *size < 700 ? *size : 700);
        *at = draw(2) ? *at ^ (uint8_t)(1 << draw(8)) : telling[draw(sizeof telling)];
    }
    if (!draw(8))
        *size = 1 + draw(*size);
}

int main(int count, char **arguments) {
    long outcomes[3] = {0};
    for (int rounds = count > 2 ? atoi(arguments[1]) : 0; rounds > 0; rounds--) {
        size_t size;
        uint8_t *whole = read_file(arguments[2 + draw((uint64_t)count - 2)], &size);
        if (!size)
            return 2;
        damage(whole, &size);
        uint8_t *data = malloc(size);
        memcpy(data, whole, size);
        struct headers *headers = calloc(1, sizeof *headers);
        read_headers(headers, data, (int64_t)size);
        const int64_t height = (headers->height + 7) / 8, width = (headers->width + 7) / 8;
        uint8_t *out = malloc((size_t)(height * width * 3));
        outcomes[headrace_eighth(data, (int64_t)size, out, height, width)]++;
        free(out);
        free(headers);
        free(data);
        free(whole);
    }
    printf("%ld decoded, %ld unusual\n", outcomes[DONE], outcomes[UNUSUAL]);
    return !outcomes[DONE] || !outcomes[UNUSUAL];
}
