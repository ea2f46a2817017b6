/* Antialiased resizing of 8-bit images, equal to Pillow's to the bit.
 *
 * The method is Pillow's: a separable convolution whose filter widens with the reduction. Its weights are normalised
 * in double precision and rounded to 22 bits of fraction, and what comes out of each of the two passes is rounded to
 * bytes. What makes it fast are the inner loops, and that between the passes there are only those rows that the next
 * row of the result needs: they stay in the cache. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "resample.h"
#include "axis.h"
#include "kernels.h"

enum { DONE, BAD_ARGUMENT, NO_MEMORY, MOST_TOGETHER = 4 * MOST_LANES };

#ifndef SOURCES
#define SOURCES ""
#endif

/* Everything a call holds. */
struct work {
    const struct kernel *kernel;
    const uint8_t *pixels;
    int64_t height, width, stride;
    int channels, together; /* rows go across `together`: one to a lane, or four gray ones */
    struct axis across, down;
    /* The image's last rows, from `tail_first` on, behind which there is memory to read on. */
    int64_t tail_first;
    uint8_t *tail;
    /* Rows that are half done: row y is in slot y % slots. */
    int64_t slots, slot_size;
    uint8_t *ring;
    /* Rows for the time of one step, `spare_size` each. */
    int64_t spare_size;
    uint8_t *spare;
    const uint8_t **rows;
};

static uint8_t *slot(const struct work *work, int64_t y) {
    return work->ring + y % work->slots * work->slot_size;
}

static uint8_t *spare(const struct work *work, int i) {
    return work->spare + i * work->spare_size;
}

/* Row y of the image, or the last one. */
static const uint8_t *readable(const struct work *work, int64_t y) {
    y = least(y, work->height - 1);
    if (y < work->tail_first)
        return work->pixels + y * work->stride;
    return work->tail + (y - work->tail_first) * work->slot_size;
}

static int prepare(struct work *work, const struct stretch *down, const struct stretch *across, int down_first) {
    if (!weigh(&work->across, across, work->kernel->halved) || !weigh(&work->down, down, work->kernel->halved))
        return 0;
    const int64_t overrun = (2 * work->across.pairs + 2) * 4 + SLACK, widest = most(work->width, work->across.size);
    const int64_t tail = least((overrun - 1) / work->stride + 1, work->height);
    work->tail_first = work->height - tail;
    work->slots = down_first ? 2 * MOST_TOGETHER : 2 * work->down.pairs + MOST_TOGETHER;
    work->slot_size = widest * work->channels + overrun;
    work->spare_size = widest * 4 + overrun;
    work->tail = calloc((size_t)tail, (size_t)work->slot_size);
    work->ring = calloc((size_t)work->slots, (size_t)work->slot_size);
    work->spare = calloc(2 * MOST_LANES, (size_t)work->spare_size);
    work->rows = calloc((size_t)work->down.pairs * 2, sizeof *work->rows);
    if (!work->tail || !work->ring || !work->spare || !work->rows)
        return 0;
    for (int64_t i = 0; i < tail; i++)
        memcpy(work->tail + i * work->slot_size, work->pixels + (work->tail_first + i) * work->stride,
               (size_t)(work->width * work->channels));
    return 1;
}

static void weave(uint8_t *restrict row, const uint8_t *const *in, int64_t width) {
    const uint8_t *a = in[0], *b = in[1], *c = in[2], *d = in[3];
    for (int64_t x = 0; x < width; x++)
        row[4 * x] = a[x], row[4 * x + 1] = b[x], row[4 * x + 2] = c[x], row[4 * x + 3] = d[x];
}

static void unweave(const uint8_t *row, uint8_t *const *out, int64_t width) {
    for (int i = 0; i < 4; i++) {
        uint8_t *restrict to = out[i];
        for (int64_t x = 0; x < width; x++)
            to[x] = row[4 * x + i];
    }
}

/* Gray rows go four at a time, as the four channels of one row. */
static void gray_across(struct work *work, const uint8_t *const *in, uint8_t *const *out) {
    const int lanes = work->kernel->lanes;
    const uint8_t *woven[MOST_LANES] = {0};
    uint8_t *made[MOST_LANES] = {0};
    for (int lane = 0; lane < lanes; lane++) {
        weave(spare(work, lane), in + 4 * lane, work->width);
        woven[lane] = spare(work, lane);
        made[lane] = spare(work, MOST_LANES + lane);
    }
    work->kernel->across(woven, made, &work->across, 4);
    for (int lane = 0; lane < lanes; lane++)
        unweave(made[lane], out + 4 * lane, work->across.size);
}

static void rows_across(struct work *work, const uint8_t *const *in, uint8_t *const *out) {
    if (work->channels == 1)
        gray_across(work, in, out);
    else
        work->kernel->across(in, out, &work->across, work->channels);
}

static void row_down(struct work *work, int64_t y, uint8_t *out, int64_t width) {
    const int32_t *weights = work->down.weights + y * 2 * work->down.pairs;
    work->kernel->down(work->rows, out, width * work->channels, weights, work->down.pairs);
}

/* Rows across into the ring, as far as the next row of the result needs them; then those of the ring down. */
static void across_then_down(struct work *work, uint8_t *out, int64_t out_stride) {
    const struct axis *down = &work->down;
    const uint8_t *in[MOST_TOGETHER];
    uint8_t *made[MOST_TOGETHER];
    int64_t next = down->first[0];
    for (int64_t y = 0; y < down->size; y++) {
        for (; next < least(down->first[y] + 2 * down->pairs, work->height); next += work->together) {
            for (int i = 0; i < work->together; i++) {
                in[i] = readable(work, next + i);
                made[i] = slot(work, least(next + i, work->height - 1));
            }
            rows_across(work, in, made);
        }
        for (int i = 0; i < 2 * down->pairs; i++)
            work->rows[i] = slot(work, least(down->first[y] + i, work->height - 1));
        row_down(work, y, out + y * out_stride, work->across.size);
    }
}

static void down_then_across(struct work *work, uint8_t *out, int64_t out_stride) {
    const struct axis *down = &work->down;
    const uint8_t *in[MOST_TOGETHER];
    uint8_t *made[MOST_TOGETHER];
    for (int64_t start = 0; start < down->size; start += work->together) {
        for (int i = 0; i < work->together; i++) {
            const int64_t y = least(start + i, down->size - 1);
            for (int row = 0; row < 2 * down->pairs; row++)
                work->rows[row] = readable(work, down->first[y] + row);
            row_down(work, y, slot(work, i), work->width);
            in[i] = slot(work, i);
            made[i] = slot(work, MOST_TOGETHER + i);
        }
        rows_across(work, in, made);
        for (int i = 0; i < work->together && start + i < down->size; i++)
            memcpy(out + (start + i) * out_stride, made[i], (size_t)(work->across.size * work->channels));
    }
}

static int valid(int64_t height, int64_t width, int64_t stride, int channels) {
    return height > 0 && width > 0 && height <= INT32_MAX && width <= INT32_MAX && stride >= width * channels;
}

static int inside(const float box[4], int64_t height, int64_t width) {
    return box[0] >= 0 && box[1] >= 0 && box[0] <= box[2] && box[1] <= box[3] && box[2] <= (float)width &&
           box[3] <= (float)height;
}

int headrace_best_kernel(void) {
    return best_kernel();
}

/* A hash of the files that this was compiled from. */
const char *headrace_sources(void) {
    return SOURCES;
}

struct range headrace_seen(const struct stretch *stretch, int64_t wanted) {
    int64_t first, end, last;
    center_of(stretch, stretch->skipped, &first, &end);
    center_of(stretch, stretch->skipped + wanted - 1, &last, &end);
    return (struct range){first, most(end, last + 1) - first};
}

int headrace_stretch(int kernel, int down_first, int channels, const uint8_t *pixels, int64_t height, int64_t width,
                     int64_t stride, const struct stretch *down, const struct stretch *across, uint8_t *out,
                     int64_t out_height, int64_t out_width, int64_t out_stride) {
    struct work work = {
        .kernel = &KERNELS[kernel], .pixels = pixels, .height = height, .width = width, .stride = stride,
        .channels = channels, .together = KERNELS[kernel].lanes * (channels == 1 ? 4 : 1),
        .across.size = out_width, .down.size = out_height,
    };
    const int ready = prepare(&work, down, across, down_first);
    if (ready)
        (down_first ? down_then_across : across_then_down)(&work, out, out_stride);
    void *const held[] = {work.across.first, work.across.weights, work.down.first, work.down.weights,
                          work.tail,         work.ring,           work.spare,      work.rows};
    for (size_t i = 0; i < sizeof held / sizeof *held; i++)
        free(held[i]);
    return ready ? DONE : NO_MEMORY;
}

/* Makes `out` of the part of the image in the box (left, top, right, bottom); see `headrace_stretch`. */
int headrace_resample(int kernel, int down_first, int bicubic, int channels, const uint8_t *pixels, int64_t height,
                      int64_t width, int64_t stride, float left, float top, float right, float bottom, uint8_t *out,
                      int64_t out_height, int64_t out_width, int64_t out_stride) {
    const float box[4] = {left, top, right, bottom};
    if (kernel < 0 || kernel > best_kernel() || (channels != 1 && channels != 3) || !inside(box, height, width) ||
        !valid(height, width, stride, channels) || !valid(out_height, out_width, out_stride, channels))
        return BAD_ARGUMENT;
    const struct stretch down = {.length = height, .size = out_height, .from = top, .to = bottom, .bicubic = bicubic};
    const struct stretch across = {.length = width, .size = out_width, .from = left, .to = right, .bicubic = bicubic};
    return headrace_stretch(kernel, down_first, channels, pixels, height, width, stride, &down, &across, out, out_height,
                            out_width, out_stride);
}
