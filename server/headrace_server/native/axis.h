/* What each new pixel along one axis is made of. */

#include "resample.h"

enum { WEIGHT_BITS = 22, HALF_BITS = 11, ONE_HALF = 1 << (WEIGHT_BITS - 1), GROUP = 4 };

/* New pixel x is the sum of 2 * pairs weights, from weights[x * 2 * pairs] on, times the old pixels from first[x] on.
 * Zeros fill the weights up, so the last ones may lie behind the end of the old pixels; and both arrays go on with
 * zeros to a multiple of GROUP pixels. `taps` is the largest number of weights that are in use. */
struct axis {
    int64_t size, taps;
    int pairs;
    int64_t *first;
    int32_t *weights;
};

static int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}

static int64_t most(int64_t a, int64_t b) {
    return a > b ? a : b;
}

/* The triangle, or Keys' cubic (1981) with a = -1/2. */
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

/* Two weights become their upper halves, side by side in 16 bits each, and their lower halves: see passes.h. */
static void halve(int32_t *pair) {
    const uint32_t low = (1 << HALF_BITS) - 1, one = (uint32_t)pair[0], two = (uint32_t)pair[1];
    pair[0] = (int32_t)(((uint32_t)(pair[0] >> HALF_BITS) & 0xffff) | (uint32_t)(pair[1] >> HALF_BITS) << 16);
    pair[1] = (int32_t)((one & low) | (two & low) << 16);
}

static double scale_of(const struct stretch *from) {
    return (double)(from->to - from->from) / (double)from->size;
}

/* Where new pixel x of the whole is in old ones, and the first of those that it is made of; `end` is behind the last. */
static double center_of(const struct stretch *from, int64_t x, int64_t *first, int64_t *end) {
    const double scale = scale_of(from), reach = (from->bicubic ? 2 : 1) * (scale > 1 ? scale : 1);
    const double center = from->from + ((double)x + 0.5) * scale;
    *first = least(most((int64_t)(center - reach + 0.5), 0), from->length - 1);
    *end = least((int64_t)(center + reach + 0.5), from->length);
    return center;
}

/* Which pixel of the whole is new pixel x. */
static int64_t whole_of(const struct axis *axis, const struct stretch *from, int64_t x) {
    return from->skipped + (from->mirrored ? axis->size - 1 - x : x);
}

/* Where each new pixel begins and how many old ones it takes. */
static void span(struct axis *axis, const struct stretch *from, int32_t *counts) {
    for (int64_t x = 0; x < axis->size; x++) {
        int64_t first, end;
        center_of(from, whole_of(axis, from, x), &first, &end);
        axis->first[x] = first - from->before;
        counts[x] = (int32_t)(end - first);
        axis->taps = most(axis->taps, counts[x]);
    }
    axis->pairs = (int)((axis->taps + 1) / 2);
}

static void fill(const struct axis *axis, const struct stretch *from, const int32_t *counts, double *exact,
                 int halved) {
    const double scale = scale_of(from), shrink = 1 / (scale > 1 ? scale : 1);
    int32_t *weights = axis->weights;
    for (int64_t x = 0; x < axis->size; x++, weights += 2 * axis->pairs) {
        int64_t first, end;
        const double center = center_of(from, whole_of(axis, from, x), &first, &end);
        double sum = 0;
        for (int i = 0; i < counts[x]; i++)
            sum += exact[i] = filter(((double)(i + first) - center + 0.5) * shrink, from->bicubic);
        for (int i = 0; i < counts[x]; i++)
            weights[i] = fixed_point(sum != 0 ? exact[i] / sum : exact[i]);
        for (int i = 0; i < axis->pairs && halved; i++)
            halve(weights + 2 * i);
    }
}

/* Gives the axis its pixels; false without memory. What it got is the caller's to free. */
static int weigh(struct axis *axis, const struct stretch *from, int halved) {
    const size_t padded = (size_t)((axis->size + GROUP - 1) / GROUP * GROUP);
    axis->first = calloc(padded, sizeof *axis->first);
    int32_t *counts = calloc((size_t)axis->size, sizeof *counts);
    double *exact = NULL;
    if (axis->first && counts) {
        span(axis, from, counts);
        axis->weights = calloc(padded, (size_t)axis->pairs * 2 * sizeof *axis->weights);
        exact = calloc((size_t)axis->taps, sizeof *exact);
    }
    const int enough = axis->weights && exact;
    if (enough)
        fill(axis, from, counts, exact, halved);
    free(counts);
    free(exact);
    return enough;
}
