/* Blocks that become 2x2 pixels, by libjpeg's reduced inverse transform.
 *
 * It uses rows and columns 0, 1, 3, 5 and 7 of the coefficients only. Its first pass, down the columns, makes for each of
 * these a sum of what is even, row 0, and one of what is odd: sums 0 to 4, and 5 to 9. */

enum { SIDE = 8, COLUMNS = 5, UNUSED = 2 * COLUMNS, DIFFERENCE, SUMS };
enum { FRACTION = 13, EVEN = FRACTION + 2, DOWN_BITS = FRACTION, ACROSS_BITS = FRACTION + 7 };
enum { NARROW = 10, NARROW_AT_ONCE = 56 / NARROW };

/* Of a coefficient in full size: twice what a picture has, and what the sums of no build of libjpeg overflow with. */
enum { MOST_VALUE = 2047 };

/* Symbols by the next bits, of the first coefficient and of the others: bits 0 to 5 their length, 0 if it does not lie in
 * these bits; 6 to 12 how many coefficients they pass; ENDED; 16 to 31 the last of these. And to which sum a coefficient
 * belongs, by its place in zigzag order, with which weight; the first, which is only a difference, has its own. */
struct quarters {
    uint32_t first[1 << NARROW], rest[1 << NARROW];
    uint8_t sum[COEFFICIENTS];
    int32_t weight[COEFFICIENTS];
};

/* Of rows and columns 1, 3, 5 and 7, with FRACTION bits behind the point. */
static const int32_t ODD[SIDE] = {0, 29692, 0, -10426, 0, 6967, 0, -5906};

static inline int is_wild(int coefficient) {
    return (coefficient + MOST_VALUE) & ~(2 * MOST_VALUE + 1);
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

static void plan_sums(struct quarters *quarters, const uint16_t *quantization) {
    static const int8_t column_of[SIDE] = {0, 1, -1, 2, -1, 3, -1, 4};
    int row = 0, column = 0;
    for (int k = 0; k < COEFFICIENTS; k++) {
        const int used = column_of[column] >= 0 && column_of[row] >= 0;
        quarters->sum[k] = (uint8_t)(used ? column_of[column] + (row ? COLUMNS : 0) : UNUSED);
        quarters->weight[k] = used ? quantization[k] * (row ? ODD[row] : 1 << EVEN) : 0;
        zigzag(&row, &column);
    }
    quarters->sum[0] = DIFFERENCE;
    quarters->weight[0] = 1;
}

static uint32_t pack(struct step step) {
    return (uint32_t)step.value << 16 | (uint32_t)(step.length | step.passed << 6 | (step.ended ? ENDED : 0));
}

static void plan_quarters(struct quarters *quarters, const struct component *component) {
    int most = 1;
    for (int k = 1; k < COEFFICIENTS; k++)
        most = component->quantization[k] > most ? component->quantization[k] : most;
    for (int bits = 0; bits < 1 << NARROW; bits++) {
        const struct step step = short_step(component->rest, bits, NARROW, 0);
        quarters->first[bits] = pack(short_step(component->first, bits, NARROW, 1));
        quarters->rest[bits] = is_wild(step.value * most) ? 0 : pack(step); /* wherever in the block it is */
    }
    plan_sums(quarters, component->quantization);
}

/* One symbol of a block of which `passed` coefficients are known, however long or large it is; no length if it is wild. */
static inline struct step careful_step(const struct component *component, uint64_t held, int passed) {
    const struct step step = step_of(passed ? component->rest : component->first, held, !passed);
    const int last = passed + step.passed - 1;
    if (last >= COEFFICIENTS || (passed && is_wild(step.value * component->quantization[last])))
        return (struct step){0};
    return step;
}

/* All coefficients of a block, added to its sums. */
static inline int add_block(struct bits *bits, const struct quarters *quarters, const struct component *component,
                            int32_t sums[SUMS]) {
    const uint32_t *symbols = quarters->first;
    int passed = 0;
    for (;;) {
        int i = 0;
        hold(bits);
        for (; i < NARROW_AT_ONCE; i++, symbols = quarters->rest) {
            const uint32_t packed = symbols[bits->held >> (64 - NARROW)];
            const int past = passed + passed_by(packed);
            if (!packed || past >= COEFFICIENTS)
                break;
            drop(bits, length_of(packed));
            passed = past;
            sums[quarters->sum[passed - 1]] += ((int32_t)packed >> 16) * quarters->weight[passed - 1];
            if (packed & ENDED)
                return 1;
        }
        if (i == NARROW_AT_ONCE)
            continue;
        hold(bits);
        const struct step step = careful_step(component, bits->held, passed);
        if (!step.length)
            return 0;
        drop(bits, step.length);
        passed += step.passed;
        sums[quarters->sum[passed - 1]] += step.value * quarters->weight[passed - 1];
        if (step.ended || passed == COEFFICIENTS)
            return 1;
        symbols = quarters->rest;
    }
}

/* `count` blocks that come one after the other. */
static inline int add_blocks(struct bits *shared, const struct quarters *quarters, const struct component *component,
                             int count, int32_t sums[][SUMS]) {
    struct bits bits = *shared;
    for (int i = 0; i < count; i++)
        if (!add_block(&bits, quarters, component, sums[i]))
            return 0;
    *shared = bits;
    return 1;
}

static inline int32_t shifted(int32_t value, int count) {
    return (value + (1 << (count - 1))) >> count;
}

/* The second pass, across: one row of the two, of which `down` is what the first pass made. Not 0 if it is wild. */
static inline int make_row(const int32_t down[COLUMNS], const uint8_t levels[LEVELS], uint8_t *pixels) {
    const int32_t even = down[0] * (1 << EVEN);
    const int32_t odd = down[1] * ODD[1] + down[2] * ODD[3] + down[3] * ODD[5] + down[4] * ODD[7];
    int wild = 0;
    pixels[0] = level_of(levels, shifted(even + odd, ACROSS_BITS), &wild);
    pixels[1] = level_of(levels, shifted(even - odd, ACROSS_BITS), &wild);
    return wild;
}

/* What a block of these sums becomes, above and below. Not 0 if it is wild. */
static inline int quarter(const int32_t sums[SUMS], int first, const uint8_t levels[LEVELS], uint8_t *above,
                          uint8_t *below) {
    int32_t down[2][COLUMNS];
    if (is_wild(first))
        return 1;
    for (int i = 0; i < COLUMNS; i++) {
        const int32_t even = sums[i] + (i ? 0 : first * (1 << EVEN)), odd = sums[COLUMNS + i];
        down[0][i] = shifted(even + odd, DOWN_BITS);
        down[1][i] = shifted(even - odd, DOWN_BITS);
    }
    return make_row(down[0], levels, above) | make_row(down[1], levels, below);
}
