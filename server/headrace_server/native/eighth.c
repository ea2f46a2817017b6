/* A baseline JPEG at an eighth of its size, to the bit what libjpeg-turbo makes of it.
 *
 * At that size a block of 8x8 pixels is one pixel, for which its first coefficient is enough. What is left to do is to
 * find where the next block begins, which is nearly all of libjpeg-turbo's time; here several symbols are passed at once,
 * at several places of the file. Anything that is out of the ordinary, or wrong, is left to libjpeg-turbo. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "entropy.h"
#include "markers.h"
#include "headers.h"
#include "scan.h"
#include "symbols.h"
#include "lanes.h"
#include "units.h"
#include "colours.h"
#include "quarters.h"
#include "rows.h"

enum { DONE, UNUSUAL, NO_MEMORY };

/* Everything a call holds. */
struct picture {
    struct headers headers;
    uint32_t symbols[MOST_COMPONENTS][2][1 << WINDOW];
    struct units units;
    struct quarters quarters[MOST_COMPONENTS];
    struct row row;
    int64_t x, left; /* where in its row the next unit goes, and how many come before a marker */
    int64_t below;   /* rows of pixels that are still to be made, and where */
    uint8_t *out;
    int last[MOST_COMPONENTS];
};

static void plan_symbols(struct picture *picture, int i) {
    const struct component *component = &picture->headers.component[i];
    uint32_t *firsts = picture->symbols[i][0], *rest = picture->symbols[i][1];
    if (i && picture->row.quartered) {
        plan_kept(firsts, component->first, 1);
        plan_kept(rest, component->rest, 0);
    } else {
        plan_firsts(firsts, component->first, component->rest);
        plan_skips(rest, component->rest);
    }
}

/* The places in a unit, each block's first coefficient and then the others. */
static void plan_places(struct picture *picture) {
    struct place *const places = picture->units.places, *place = places;
    for (int i = 0; i < picture->headers.components; i++) {
        const struct component *component = &picture->headers.component[i];
        const uint32_t kept_rest = i && picture->row.quartered ? KEPT : 0;
        const int alike = i == 2 && component->first == component[-1].first && component->rest == component[-1].rest;
        if (!alike)
            plan_symbols(picture, i);
        for (int block = 0; block < component->across * component->down; block++, place += 2) {
            uint32_t(*symbols)[1 << WINDOW] = picture->symbols[i - alike];
            place[0] = (struct place){symbols[0], component->first, 1, KEPT, {place + 1, place + 2}};
            place[1] = (struct place){symbols[1], component->rest, 0, kept_rest, {place + 1, place + 2}};
        }
    }
    place[-2].next[1] = place[-1].next[1] = places;
}

/* The blocks of a component in a unit, of which the first coefficients count. */
static inline const uint32_t *take_firsts(struct picture *picture, int i, const uint32_t *symbols) {
    const struct component *component = &picture->headers.component[i];
    const int64_t x = picture->x * component->across;
    for (int v = 0; v < component->down; v++)
        for (int h = 0; h < component->across; h++)
            picture->row.firsts[i][v][x + h] = picture->last[i] += number_of(*symbols++);
    return symbols;
}

/* The block of a colour that becomes four pixels. */
static inline const uint32_t *take_quarter(struct picture *picture, int i, const uint32_t *symbols, int *wild) {
    symbols = take_firsts(picture, i, symbols);
    return add_block(&picture->quarters[i], symbols, picture->row.sums[i] + picture->x, wild);
}

static int end_row(struct picture *picture) {
    const int64_t down = picture->headers.component[0].down, count = picture->below < down ? picture->below : down;
    const int wild = make_row(&picture->row, picture->out, count);
    picture->x = 0;
    picture->below -= count;
    picture->out += 3 * picture->row.width * count;
    return !wild;
}

static int take_symbols(void *taker, const uint32_t *symbols, const uint32_t *end) {
    struct picture *picture = taker;
    int wild = 0;
    while (symbols < end) {
        if (!picture->left--)
            return 0;
        for (int i = 0; i < picture->headers.components; i++)
            symbols = i && picture->row.quartered ? take_quarter(picture, i, symbols, &wild) : take_firsts(picture, i, symbols);
        if (++picture->x == picture->row.units && (wild || !end_row(picture)))
            return 0;
    }
    return !wild;
}

/* Reads what lies between two markers: so many units, and then no bits but those that fill a byte. */
static int read_between_markers(struct picture *picture, int64_t count) {
    struct units *units = &picture->units;
    units->at = 0;
    picture->left = count;
    memset(picture->last, 0, sizeof picture->last);
    while (picture->left)
        if (!read_some_units(units, take_symbols, picture))
            return 0;
    const int64_t bits = 8 * units->scan.held - (int64_t)units->at;
    return bits >= 0 && bits < 8;
}

/* Reads the scan, from its first byte on. */
static int read_scan_units(struct picture *picture) {
    const int down = picture->headers.component[0].down;
    const int64_t interval = picture->headers.interval;
    struct scan *scan = &picture->units.scan;
    int64_t left = picture->row.units * ((picture->below + down - 1) / down);
    for (int restarts = 0;; restarts++) {
        const int64_t count = interval && interval < left ? interval : left;
        take_bytes(scan);
        if (!read_between_markers(picture, count))
            return 0;
        left -= count;
        if (!left)
            return at_marker(scan, END);
        if (!at_marker(scan, RESTART + restarts % 8))
            return 0;
        begin_anew(scan);
    }
}

static int read_picture(struct picture *picture, int64_t width) {
    const struct headers *headers = &picture->headers;
    void *memory = plan_row(&picture->row, headers, width);
    if (!memory)
        return NO_MEMORY;
    plan_places(picture);
    for (int i = 0; i < headers->components; i++)
        plan_quarters(&picture->quarters[i], headers->component[i].quantization, picture->row.units);
    const int fine = read_scan_units(picture);
    free(memory);
    return fine ? DONE : UNUSUAL;
}

/* Makes `out`, height x width x 3 bytes, of a JPEG with sides of 8 times as much, or up to 7 pixels less; where it is
 * UNUSUAL, `out` may have been written to. For any number of threads at once; holds no memory when it returns. */
int headrace_eighth(const uint8_t *data, int64_t size, uint8_t *out, int64_t height, int64_t width) {
    struct picture *picture = malloc(sizeof *picture);
    if (!picture)
        return NO_MEMORY;
    const struct headers *headers = &picture->headers;
    const uint8_t *start = read_headers(&picture->headers, data, size);
    int status = UNUSUAL;
    if (start && headers->height && headers->width && (headers->height + 7) / 8 == height &&
        (headers->width + 7) / 8 == width) {
        picture->x = 0;
        picture->below = height;
        picture->out = out;
        begin_scan(&picture->units.scan, start, data + size);
        status = read_picture(picture, width);
    }
    free(picture);
    return status;
}
