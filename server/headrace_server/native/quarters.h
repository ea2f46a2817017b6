/* Blocks that become 1x1 or 2x2 pixels, by libjpeg's reduced inverse transforms.
 *
 * The one uses a block's first coefficient only; the other rows and columns 0, 1, 3, 5 and 7 of them. Its first pass, down
 * the columns, makes for each of these a sum of what is even, row 0, and one of what is odd: sums 0 to 4, and 5 to 9. */

enum { SIDE = 8, COLUMNS = 5, UNUSED = 2 * COLUMNS, SUMS };
enum { FRACTION = 13, EVEN = FRACTION + 2, DOWN_BITS = FRACTION, ACROSS_BITS = FRACTION + 7 };

/* Of a coefficient in full size: twice what a picture has, and what the sums of no build of libjpeg overflow with. And of
 * a value: beyond it the builds of libjpeg differ. */
enum { MOST_COEFFICIENT = 2047, MOST_LEVEL = 511 };

/* By a coefficient's place in zigzag order: its quantization, with which weight it counts, and to which sum it belongs. */
struct quarters {
    int32_t quantization[COEFFICIENTS], weight[COEFFICIENTS];
    int64_t sum[COEFFICIENTS];
};

/* Of rows and columns 1, 3, 5 and 7, with FRACTION bits behind the point. */
static const int32_t ODD[SIDE] = {0, 29692, 0, -10426, 0, 6967, 0, -5906};

/* Not 0 for what is not in -1 - most to most, which is one less than a power of two. */
INLINED int is_wild(int value, int most) {
    return (int)(((uint32_t)value + (uint32_t)most + 1) & ~(2 * (uint32_t)most + 1));
}

/* To the next place: up and to the right, or down and to the left, and along the sides. */
static void zigzag(int *row, int *column) {
    const int up = (*row + *column) % 2 == 0;
    int *const onward = up ? column : row, *const back = up ? row : column;
    if (*onward == SIDE - 1) {
        ++*back;
        return;
    }
    ++*onward;
    if (*back > 0)
        --*back;
}

/* A block's sums lie `stride` numbers apart. */
static void plan_quarters(struct quarters *quarters, const uint16_t *quantization, int64_t stride) {
    static const int8_t column_of[SIDE] = {0, 1, -1, 2, -1, 3, -1, 4};
    int row = 0, column = 0;
    for (int k = 0; k < COEFFICIENTS; k++) {
        const int used = column_of[column] >= 0 && column_of[row] >= 0;
        quarters->quantization[k] = quantization[k];
        quarters->weight[k] = !used ? 0 : row ? ODD[row] : 1 << EVEN;
        quarters->sum[k] = stride * (used ? column_of[column] + (row ? COLUMNS : 0) : UNUSED);
        zigzag(&row, &column);
    }
}

/* Adds the coefficients of a block behind the first, beginning with the symbol that follows it; what comes behind them.
 * `wild` becomes not 0 if one is. */
INLINED const uint32_t *add_block(const struct quarters *quarters, const uint32_t *symbols, int32_t *sums, int *wild) {
    for (int k = 0;;) {
        const uint32_t symbol = *symbols++;
        k += passed_by(symbol);
        const int32_t value = number_of(symbol) * quarters->quantization[k];
        int32_t *const sum = sums + quarters->sum[k];
        *wild |= is_wild(value, MOST_COEFFICIENT);
        *sum = (int32_t)((uint32_t)*sum + (uint32_t)value * (uint32_t)quarters->weight[k]); /* what is wild overflows */
        if (symbol & ENDED)
            return symbols;
    }
}

INLINED int32_t shifted(int32_t value, int count) {
    return (value + (1 << (count - 1))) >> count;
}

INLINED uint8_t level_of(int32_t value, int *wild) {
    *wild |= is_wild(value, MOST_LEVEL);
    return byte(value + 128);
}

/* The blocks' first coefficients, in full size. Not 0 if one is wild: so is what is wild before it is multiplied. */
INLINED int dequantize(int32_t *restrict firsts, int32_t quantization, int64_t count) {
    int wild = 0;
    for (int64_t x = 0; x < count; x++) {
        const int32_t value = (int32_t)((uint32_t)firsts[x] * (uint32_t)quantization);
        wild |= is_wild(firsts[x], MOST_COEFFICIENT) | is_wild(value, MOST_COEFFICIENT);
        firsts[x] = value;
    }
    return wild;
}

/* A row of blocks, a pixel each. Not 0 if one is wild. */
INLINED int make_pixels(const int32_t *restrict firsts, int64_t count, uint8_t *restrict pixels) {
    int wild = 0;
    for (int64_t x = 0; x < count; x++)
        pixels[x] = level_of((firsts[x] + 4) >> 3, &wild);
    return wild;
}

/* A row of blocks, two pixels each, above if `sign` is 1, below if it is -1. Not 0 if one is wild. */
INLINED int make_pairs(const int32_t *restrict firsts, const int32_t *restrict sums, int64_t count, const int sign,
                       uint8_t *restrict pixels) {
    int wild = 0;
    for (int64_t x = 0; x < count; x++) {
        int32_t down[COLUMNS];
        for (int i = 0; i < COLUMNS; i++)
            down[i] = shifted(sums[i * count + x] + sign * sums[(COLUMNS + i) * count + x] + (i ? 0 : firsts[x] * (1 << EVEN)),
                              DOWN_BITS);
        const int32_t even = down[0] * (1 << EVEN);
        const int32_t odd = down[1] * ODD[1] + down[2] * ODD[3] + down[3] * ODD[5] + down[4] * ODD[7];
        pixels[2 * x] = level_of(shifted(even + odd, ACROSS_BITS), &wild);
        pixels[2 * x + 1] = level_of(shifted(even - odd, ACROSS_BITS), &wild);
    }
    return wild;
}
