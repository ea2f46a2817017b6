/* A row of units, from coefficients to red, green and blue. */

struct row {
    const struct headers *headers;
    int quartered; /* each colour has one block where brightness has four, and becomes four pixels of it */
    int64_t width, units;
    int32_t *firsts[MOST_COMPONENTS][2]; /* the first coefficients of blocks, above and below */
    int32_t *sums[MOST_COMPONENTS];      /* SUMS times `units`, of what is quartered */
    uint8_t *levels[MOST_COMPONENTS][2];
};

/* Memory for all of a row, which the caller frees; NULL if there is none. */
static void *plan_row(struct row *row, const struct headers *headers, int64_t width) {
    const struct component *brightness = &headers->component[0];
    const int64_t units = (width + brightness->across - 1) / brightness->across;
    const int64_t numbers = MOST_COMPONENTS * (2 * 2 + SUMS) * units, levels = MOST_COMPONENTS * 2 * 2 * units;
    int32_t *const memory = calloc((size_t)((int64_t)sizeof *memory * numbers + levels), 1), *number = memory;
    uint8_t *level = (uint8_t *)(memory + numbers);
    row->headers = headers;
    row->quartered = headers->components == 3 && brightness->across == 2 && brightness->down == 2;
    row->width = width;
    row->units = units;
    for (int i = 0; memory && i < MOST_COMPONENTS; i++) {
        for (int v = 0; v < 2; v++, number += 2 * units, level += 2 * units) {
            row->firsts[i][v] = number;
            row->levels[i][v] = level;
        }
        row->sums[i] = number;
        number += SUMS * units;
    }
    return memory;
}

INLINED int make_quartered(struct row *row, int i) {
    const int64_t units = row->units;
    int32_t *firsts = row->firsts[i][0], *sums = row->sums[i];
    if (dequantize(firsts, row->headers->component[i].quantization[0], units))
        return 1;
    const int wild = make_pairs(firsts, sums, units, 1, row->levels[i][0]) |
                     make_pairs(firsts, sums, units, -1, row->levels[i][1]);
    memset(sums, 0, sizeof *sums * (size_t)(SUMS * units));
    return wild;
}

INLINED int make_levels(struct row *row, int i) {
    const struct component *component = &row->headers->component[i];
    const int64_t blocks = row->units * component->across;
    int wild = 0;
    for (int v = 0; v < component->down; v++) {
        if (dequantize(row->firsts[i][v], component->quantization[0], blocks))
            return 1;
        wild |= make_pixels(row->firsts[i][v], blocks, row->levels[i][v]);
    }
    return wild;
}

/* The first rows of pixels of a row of units. Not 0 if anything in it is wild. */
INLINED int make_row_inlined(struct row *row, uint8_t *out, int64_t count) {
    uint8_t *(*const levels)[2] = row->levels;
    const int components = row->headers->components, shared = row->headers->component[0].across == 2 && !row->quartered;
    int wild = 0;
    for (int i = 0; i < components; i++)
        wild |= i && row->quartered ? make_quartered(row, i) : make_levels(row, i);
    for (int64_t v = 0; v < count; v++, out += 3 * row->width) {
        const int64_t below = row->quartered ? v : 0;
        if (components == 1)
            gray_to_rgb(levels[0][v], row->width, out);
        else if (shared)
            to_rgb(levels[0][v], levels[1][below], levels[2][below], 1, row->width, out);
        else
            to_rgb(levels[0][v], levels[1][below], levels[2][below], 0, row->width, out);
    }
    return wild;
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) static int make_row_avx2(struct row *row, uint8_t *out, int64_t count) {
    return make_row_inlined(row, out, count);
}
#endif

static int make_row(struct row *row, uint8_t *out, int64_t count) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2"))
        return make_row_avx2(row, out, count);
#endif
    return make_row_inlined(row, out, count);
}
