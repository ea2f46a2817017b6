/* A baseline JPEG at an eighth of its size, to the bit what libjpeg-turbo makes of it.
 *
 * At that size a block of 8x8 pixels is one pixel, for which its first coefficient is enough. What is left to do is to
 * find where the next block begins, which is nearly all of libjpeg-turbo's time; here several symbols are passed at once.
 * Anything that is out of the ordinary, or wrong, is left to libjpeg-turbo. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "entropy.h"
#include "headers.h"
#include "colours.h"
#include "firsts.h"
#include "quarters.h"

enum { DONE, UNUSUAL, NO_MEMORY };

/* Everything a call holds. */
struct picture {
    struct headers headers;
    int quartered; /* each colour has one block where brightness has four */
    int alike;     /* the colours have the same tables */
    struct skips skips[MOST_COMPONENTS];
    struct quarters quarters[MOST_COMPONENTS];
    struct colours colours;
    struct bits bits;
    int last[MOST_COMPONENTS];
    int until_restart, restarts;
    uint8_t *rows[MOST_COMPONENTS][2]; /* the pixels of a row of units */
};

static void plan(struct picture *picture) {
    const struct headers *headers = &picture->headers;
    const struct component *component = headers->component, *blue = component + 1, *red = component + 2;
    picture->quartered = component->across == 2 && component->down == 2;
    picture->alike = blue->first == red->first && blue->rest == red->rest && blue->quantization == red->quantization;
    picture->until_restart = headers->interval;
    for (int i = 0; i < headers->components; i++)
        if (i && picture->quartered)
            plan_quarters(&picture->quarters[i], &component[i]);
        else
            plan_skips(&picture->skips[i], &component[i]);
    plan_colours(&picture->colours);
}

/* Whether the marker comes next, and no bits before it but those that fill a byte. */
static int at_marker(struct bits *bits, int marker) {
    hold(bits);
    const int real = left(bits);
    return bits->made_up && real >= 0 && real < 8 && bits->end - bits->next >= 2 && bits->next[1] == marker;
}

static int restart(struct picture *picture) {
    struct bits *bits = &picture->bits;
    if (!at_marker(bits, RESTART + picture->restarts++ % 8))
        return 0;
    *bits = (struct bits){.next = bits->next + 2, .end = bits->end};
    memset(picture->last, 0, sizeof picture->last);
    picture->until_restart = picture->headers.interval - 1;
    return 1;
}

/* The blocks of a component in unit x of a row, a pixel each. */
static inline int read_pixels(struct picture *picture, int i, int64_t x, int across, int down) {
    const struct component *component = &picture->headers.component[i];
    int firsts[4], wild = 0;
    if (!read_firsts(&picture->bits, &picture->skips[i], component, &picture->last[i], across * down, firsts))
        return 0;
    for (int v = 0; v < down; v++)
        for (int h = 0; h < across; h++) {
            const int value = firsts[v * across + h] * component->quantization[0];
            wild |= is_wild(value);
            picture->rows[i][v][x * across + h] = level_of(picture->colours.levels, (value + 4) >> 3, &wild);
        }
    return !wild;
}

/* The two blocks of colour in unit x of a row, four pixels each. */
static inline int read_quarters(struct picture *picture, int64_t x) {
    const struct component *component = picture->headers.component;
    int32_t sums[2][SUMS] = {{0}};
    if (!add_blocks(&picture->bits, &picture->quarters[1], &component[1], 1 + picture->alike, sums) ||
        !add_blocks(&picture->bits, &picture->quarters[2], &component[2], !picture->alike, sums + 1))
        return 0;
    int wild = 0;
    for (int i = 1; i <= 2; i++) {
        const int first = (picture->last[i] += sums[i - 1][DIFFERENCE]) * component[i].quantization[0];
        uint8_t *const *rows = picture->rows[i];
        wild |= quarter(sums[i - 1], first, picture->colours.levels, rows[0] + 2 * x, rows[1] + 2 * x);
    }
    return !wild;
}

static inline int read_unit(struct picture *picture, int64_t x) {
    const struct component *component = picture->headers.component;
    if (picture->headers.components == 3 && picture->quartered)
        return read_pixels(picture, 0, x, 2, 2) && read_quarters(picture, x);
    for (int i = 0; i < picture->headers.components; i++)
        if (!read_pixels(picture, i, x, component[i].across, component[i].down))
            return 0;
    return 1;
}

static int read_units(struct picture *picture, int64_t count) {
    for (int64_t x = 0; x < count; x++) {
        if (picture->headers.interval && !picture->until_restart-- && !restart(picture))
            return 0;
        if (!read_unit(picture, x))
            return 0;
    }
    return left(&picture->bits) >= 0;
}

static void write_row(const struct picture *picture, int row, int64_t width, uint8_t *out) {
    uint8_t *const(*rows)[2] = picture->rows;
    if (picture->headers.components == 1) {
        gray_to_rgb(rows[0][row], width, out);
        return;
    }
    const int below = picture->quartered ? row : 0;
    const int shared = !picture->quartered && picture->headers.component[0].across == 2;
    to_rgb(&picture->colours, rows[0][row], rows[1][below], rows[2][below], shared, width, out);
}

static int read_rows(struct picture *picture, int64_t height, int64_t width, uint8_t *out) {
    const struct component *brightness = &picture->headers.component[0];
    const int64_t units = (width + brightness->across - 1) / brightness->across, longest = 2 * units;
    uint8_t *made = malloc((size_t)(2 * MOST_COMPONENTS * longest));
    if (!made)
        return NO_MEMORY;
    for (int i = 0; i < MOST_COMPONENTS; i++)
        for (int v = 0; v < 2; v++)
            picture->rows[i][v] = made + (2 * i + v) * longest;
    int fine = 1;
    for (int64_t y = 0; fine && y < height; y += brightness->down) {
        fine = read_units(picture, units);
        for (int row = 0; fine && row < brightness->down && y + row < height; row++)
            write_row(picture, row, width, out + (y + row) * width * 3);
    }
    free(made);
    return fine && at_marker(&picture->bits, END) ? DONE : UNUSUAL;
}

static int read_picture(struct picture *picture, const uint8_t *data, int64_t size, int64_t height, int64_t width,
                        uint8_t *out) {
    const struct headers *headers = &picture->headers;
    const uint8_t *start = read_headers(&picture->headers, data, size);
    if (!start || (headers->height + 7) / 8 != height || (headers->width + 7) / 8 != width)
        return UNUSUAL;
    picture->bits = (struct bits){.next = start, .end = data + size};
    plan(picture);
    return read_rows(picture, height, width, out);
}

/* Makes `out`, height x width x 3 bytes, of a JPEG with sides of 8 times as much, or up to 7 pixels less; where it is
 * UNUSUAL, `out` may have been written to. For any number of threads at once; holds no memory when it returns. */
int headrace_eighth(const uint8_t *data, int64_t size, uint8_t *out, int64_t height, int64_t width) {
    struct picture *picture = calloc(1, sizeof *picture);
    if (!picture)
        return NO_MEMORY;
    const int status = read_picture(picture, data, size, height, width, out);
    free(picture);
    return status;
}
