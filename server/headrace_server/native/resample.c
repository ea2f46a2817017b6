/* Antialiased resizing of 8-bit images, equal to Pillow's to the bit.
 *
 * The method is Pillow's: a separable convolution whose filter widens with the reduction; weights are normalised in double
 * precision and rounded to 22 bits of fraction; rows first, rounded to bytes, then columns. Two things make it fast: the
 * inner loops (passes.h), and that only those rows are held between the passes which the next row of the result needs. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { WEIGHT_BITS = 22, HALF_BITS = 11, ONE_HALF = 1 << (WEIGHT_BITS - 1), GROUP = 4, MOST_LANES = 4, MOST_TOGETHER = 16, SLACK = 64 };
enum { OK, BAD_ARGUMENT, NO_MEMORY };

/* What each of `size` new pixels is made of: 2 * pairs weights, from the old pixel `first` on. Zeros fill them up, so the
 * last ones may lie behind the end. */
struct axis {
    int64_t size, taps;
    int pairs;
    int64_t *first;
    int32_t *weights;
};

/* `across` takes `lanes` rows of pixels of 3 or 4 bytes; it reads and writes some bytes more than a row has. `down` makes
 * one row of 2 * pairs rows, and reads up to SLACK bytes more. */
struct kernel {
    int lanes, halved;
    void (*across)(const uint8_t *const *in, uint8_t *const *out, const struct axis *axis, int channels);
    void (*down)(const uint8_t *const *in, uint8_t *out, int64_t bytes, const int32_t *weights, int pairs);
};

static double filter(double x, int bicubic) {
    const double a = -0.5;
    if (x < 0)
        x = -x;
    if (!bicubic)
        return x < 1 ? 1 - x : 0;
    if (x < 1)
        return ((a + 2) * x - (a + 3)) * x * x + 1;
    return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
}

static int32_t fixed_point(double weight) {
    return (int32_t)(weight * (1 << WEIGHT_BITS) + (weight < 0 ? -0.5 : 0.5));
}

/* Two weights to their upper halves, side by side, and their lower halves. */
static void halve(int32_t *weights) {
    const uint32_t one = (uint32_t)weights[0], two = (uint32_t)weights[1], low = (1 << HALF_BITS) - 1;
    weights[0] = (int32_t)(((uint32_t)(weights[0] >> HALF_BITS) & 0xffff) | (uint32_t)(weights[1] >> HALF_BITS) << 16);
    weights[1] = (int32_t)((one & low) | (two & low) << 16);
}

/* The box's edges are single precision because Pillow's are. */
static int weigh(struct axis *axis, int64_t old_size, float from, float to, int bicubic, int halved) {
    const double scale = (double)(to - from) / (double)axis->size, stretch = scale > 1 ? scale : 1;
    const double reach = (bicubic ? 2 : 1) * stretch, shrink = 1 / stretch;
    const int64_t padded = (axis->size + GROUP - 1) / GROUP * GROUP;
    axis->first = calloc((size_t)padded, sizeof *axis->first);
    int32_t *counts = calloc((size_t)axis->size, sizeof *counts);
    if (!axis->first || !counts) {
        free(counts);
        return NO_MEMORY;
    }
    for (int64_t x = 0; x < axis->size; x++) {
        const double center = from + ((double)x + 0.5) * scale;
        int64_t first = (int64_t)(center - reach + 0.5), end = (int64_t)(center + reach + 0.5);
        first = first < 0 ? 0 : first < old_size ? first : old_size - 1;
        end = end < old_size ? end : old_size;
        axis->first[x] = first;
        counts[x] = (int32_t)(end - first);
        axis->taps = counts[x] > axis->taps ? counts[x] : axis->taps;
    }
    axis->pairs = (int)((axis->taps + 1) / 2);
    axis->weights = calloc((size_t)padded, (size_t)axis->pairs * 2 * sizeof *axis->weights);
    double *exact = malloc((size_t)axis->taps * sizeof *exact);
    for (int64_t x = 0; x < axis->size && axis->weights && exact; x++) {
        const double center = from + ((double)x + 0.5) * scale;
        int32_t *weights = axis->weights + x * 2 * axis->pairs;
        double sum = 0;
        for (int i = 0; i < counts[x]; i++)
            sum += exact[i] = filter(((double)(i + axis->first[x]) - center + 0.5) * shrink, bicubic);
        for (int i = 0; i < counts[x]; i++)
            weights[i] = fixed_point(sum != 0 ? exact[i] / sum : exact[i]);
        for (int i = 0; i < axis->pairs && halved; i++)
            halve(weights + 2 * i);
    }
    const int failed = !axis->weights || !exact;
    free(counts);
    free(exact);
    return failed ? NO_MEMORY : OK;
}

static uint8_t clipped(int32_t sum) {
    sum >>= WEIGHT_BITS;
    return (uint8_t)(sum < 0 ? 0 : sum > 255 ? 255 : sum);
}

static void across_portable(const uint8_t *const *in, uint8_t *const *out, const struct axis *axis, int channels) {
    for (int64_t x = 0; x < axis->size; x++) {
        const int32_t *weights = axis->weights + x * 2 * axis->pairs;
        const uint8_t *pixels = in[0] + axis->first[x] * channels;
        int32_t sums[4] = {ONE_HALF, ONE_HALF, ONE_HALF, ONE_HALF};
        for (int i = 0; i < 2 * axis->pairs; i++, pixels += channels)
            for (int c = 0; c < 4; c++)
                sums[c] += weights[i] * pixels[c];
        for (int c = 0; c < 4; c++)
            out[0][x * channels + c] = clipped(sums[c]);
    }
}

static void down_portable(const uint8_t *const *in, uint8_t *out, int64_t bytes, const int32_t *weights, int pairs) {
    for (int64_t x = 0; x < bytes; x += SLACK) {
        int32_t sums[SLACK];
        for (int i = 0; i < SLACK; i++)
            sums[i] = ONE_HALF;
        for (int row = 0; row < 2 * pairs; row++)
            for (int i = 0; i < SLACK; i++)
                sums[i] += weights[row] * in[row][x + i];
        for (int i = 0; i < SLACK && x + i < bytes; i++)
            out[x + i] = clipped(sums[i]);
    }
}

#if defined(__x86_64__)
#include <immintrin.h>

/* For pixels of three bytes and of four: how to take from 16 bytes the 1st and 2nd, the 3rd and 4th, and the 5th pixel, as
 * 16 bits for each channel, neighbours side by side; and how to close the gap where there is no fourth channel. */
enum { NO = 0x80 };
static const uint8_t SHUFFLES[2][4][16] = {
    {{0, NO, 3, NO, 1, NO, 4, NO, 2, NO, 5, NO, NO, NO, NO, NO},
     {6, NO, 9, NO, 7, NO, 10, NO, 8, NO, 11, NO, NO, NO, NO, NO},
     {12, NO, NO, NO, 13, NO, NO, NO, 14, NO, NO, NO, NO, NO, NO, NO},
     {0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, NO, NO, NO, NO}},
    {{0, NO, 4, NO, 1, NO, 5, NO, 2, NO, 6, NO, 3, NO, 7, NO},
     {8, NO, 12, NO, 9, NO, 13, NO, 10, NO, 14, NO, 11, NO, 15, NO},
     {0},
     {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}},
};

#define LANES 2
#define VECTOR __m256i
#define TARGET __attribute__((target("avx2")))
#define NAME(name) name##_avx2
#define OP(name) _mm256_##name
#define BROADCAST _mm256_broadcastsi128_si256
#define ZERO _mm256_setzero_si256()
#define DOT(sum, pixels, weights) _mm256_add_epi32(sum, _mm256_madd_epi16(pixels, weights))
#include "passes.h"
#undef LANES
#undef VECTOR
#undef TARGET
#undef NAME
#undef OP
#undef BROADCAST
#undef ZERO
#undef DOT
#undef DOT_BOTH
#undef INLINE

#define LANES 4
#define VECTOR __m512i
#define TARGET __attribute__((target("avx512bw,avx512vnni")))
#define NAME(name) name##_avx512
#define OP(name) _mm512_##name
#define BROADCAST _mm512_broadcast_i32x4
#define ZERO _mm512_setzero_si512()
#define DOT(sum, pixels, weights) _mm512_dpwssd_epi32(sum, pixels, weights)
#include "passes.h"
#endif

static const struct kernel KERNELS[] = {
    {1, 0, across_portable, down_portable},
#if defined(__x86_64__)
    {2, 1, across_avx2, down_avx2},
    {4, 1, across_avx512, down_avx512},
#endif
};

/* The best kernel for this processor; those before it run too. */
int headrace_resample_best(void) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vnni"))
        return 2;
    return __builtin_cpu_supports("avx2") ? 1 : 0;
#else
    return 0;
#endif
}

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

static int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}

static int64_t most(int64_t a, int64_t b) {
    return a > b ? a : b;
}

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

static int prepare(struct work *work, const float box[4], int bicubic, int down_first) {
    const int halved = work->kernel->halved;
    int status = weigh(&work->across, work->width, box[0], box[2], bicubic, halved);
    if (status == OK)
        status = weigh(&work->down, work->height, box[1], box[3], bicubic, halved);
    if (status != OK)
        return status;
    const int64_t overrun = (2 * work->across.pairs + 2) * 4 + SLACK;
    const int64_t widest = most(work->width, work->across.size);
    const int64_t tail = least((overrun - 1) / work->stride + 1, work->height);
    work->tail_first = work->height - tail;
    work->slots = down_first ? 2 * MOST_TOGETHER : 2 * work->down.pairs + MOST_TOGETHER;
    work->slot_size = widest * work->channels + overrun;
    work->spare_size = widest * 4 + overrun;
    work->tail = malloc((size_t)(tail * work->slot_size));
    work->ring = malloc((size_t)(work->slots * work->slot_size));
    work->spare = malloc((size_t)(2 * MOST_LANES * work->spare_size));
    work->rows = malloc((size_t)work->down.pairs * 2 * sizeof *work->rows);
    if (!work->tail || !work->ring || !work->spare || !work->rows)
        return NO_MEMORY;
    for (int64_t y = work->tail_first; y < work->height; y++)
        memcpy((uint8_t *)readable(work, y), work->pixels + y * work->stride, (size_t)(work->width * work->channels));
    return OK;
}

/* Gray rows go four at a time, as the four channels of one row. */
static void gray_across(struct work *work, const uint8_t *const *in, uint8_t *const *out) {
    const int lanes = work->kernel->lanes;
    const uint8_t *woven[MOST_LANES] = {0};
    uint8_t *made[MOST_LANES] = {0};
    for (int lane = 0; lane < lanes; lane++, in += 4) {
        uint8_t *row = spare(work, lane);
        for (int64_t x = 0; x < work->width; x++)
            for (int i = 0; i < 4; i++)
                row[4 * x + i] = in[i][x];
        woven[lane] = row;
        made[lane] = spare(work, MOST_LANES + lane);
    }
    work->kernel->across(woven, made, &work->across, 4);
    for (int lane = 0; lane < lanes; lane++, out += 4)
        for (int i = 0; i < 4; i++)
            for (int64_t x = 0; x < work->across.size; x++)
                out[i][x] = made[lane][4 * x + i];
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

/* Makes `out` of the part of the image that is inside the box (left, top, right, bottom). Both have `channels`, 1 or 3, and
 * contiguous rows, `stride` bytes apart. For any number of threads; holds no memory when it returns. */
int headrace_resample(int kernel, int down_first, int channels, const uint8_t *pixels, int64_t height, int64_t width,
                      int64_t stride, float left, float top, float right, float bottom, int bicubic, uint8_t *out,
                      int64_t out_height, int64_t out_width, int64_t out_stride) {
    const int inside = left >= 0 && top >= 0 && left < right && top < bottom && right <= (float)width && bottom <= (float)height;
    if (!inside || (channels != 1 && channels != 3) || kernel < 0 || kernel > headrace_resample_best() ||
        !valid(height, width, stride, channels) || !valid(out_height, out_width, out_stride, channels))
        return BAD_ARGUMENT;
    struct work work = {
        .kernel = &KERNELS[kernel], .pixels = pixels, .height = height, .width = width, .stride = stride,
        .channels = channels, .together = KERNELS[kernel].lanes * (channels == 1 ? 4 : 1),
        .across.size = out_width, .down.size = out_height,
    };
    const float box[4] = {left, top, right, bottom};
    const int status = prepare(&work, box, bicubic, down_first);
    if (status == OK)
        (down_first ? down_then_across : across_then_down)(&work, out, out_stride);
    void *const held[] = {work.across.first, work.across.weights, work.down.first, work.down.weights,
                          work.tail, work.ring, work.spare, work.rows};
    for (size_t i = 0; i < sizeof held / sizeof *held; i++)
        free(held[i]);
    return status;
}
