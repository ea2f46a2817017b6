/* Blocks of which only the first coefficient counts: over the others we go as many at a time as we can.
 *
 * What the next bits hold is looked up. Bits 0 to 5 of what is found say how many bits to drop, 0 where not even one symbol
 * lies in those that were looked at. */

enum { WINDOW = 13, FIRST_WINDOW = 10, AT_ONCE = 56 / WINDOW, ENDED = 1 << 15 };

struct skips {
    uint16_t rest[1 << WINDOW]; /* all symbols in the window; bits 6 to 12: how many coefficients these pass; ENDED */
    uint32_t first[1 << FIRST_WINDOW]; /* bits 16 to 31: the coefficient's difference from that of the block before */
};

static inline int length_of(unsigned skip) {
    return skip & 0x3f;
}

static inline int passed_by(unsigned skip) {
    return skip >> 6 & 0x7f;
}

static uint16_t one_skip(const struct huffman *table, int bits) {
    const struct step step = short_step(table, bits, WINDOW, 0);
    return (uint16_t)(step.length | step.passed << 6 | (step.ended ? ENDED : 0));
}

/* Behind a block's last coefficient no end is said, so a skip stops before that. */
static uint16_t many_skips(const uint16_t single[1 << WINDOW], int bits) {
    unsigned all = 0;
    while (!(all & ENDED)) {
        const unsigned next = single[bits << length_of(all) & ((1 << WINDOW) - 1)];
        if (!next || length_of(all) + length_of(next) > WINDOW || passed_by(all) + passed_by(next) >= COEFFICIENTS)
            break;
        all += next;
    }
    return (uint16_t)all;
}

static void plan_skips(struct skips *skips, const struct component *component) {
    uint16_t single[1 << WINDOW];
    for (int bits = 0; bits < 1 << WINDOW; bits++)
        single[bits] = one_skip(component->rest, bits);
    for (int bits = 0; bits < 1 << WINDOW; bits++)
        skips->rest[bits] = many_skips(single, bits);
    for (int bits = 0; bits < 1 << FIRST_WINDOW; bits++) {
        const struct step step = short_step(component->first, bits, FIRST_WINDOW, 1);
        skips->first[bits] = (uint32_t)step.value << 16 | (uint32_t)step.length;
    }
}

/* Adds what the next block's first coefficient differs by. */
static inline int read_first(struct bits *bits, const struct skips *skips, const struct component *component, int *first) {
    hold(bits);
    const uint32_t skip = skips->first[bits->held >> (64 - FIRST_WINDOW)];
    if (skip) {
        drop(bits, length_of(skip));
        *first += (int32_t)skip >> 16;
        return 1;
    }
    const struct step step = step_of(component->first, bits->held, 1);
    drop(bits, step.length);
    *first += step.value;
    return step.length;
}

/* Goes over a block's other coefficients. */
static inline int skip_rest(struct bits *bits, const struct skips *skips, const struct component *component) {
    int passed = 1;
    for (;;) {
        int i = 0;
        hold(bits);
        for (; i < AT_ONCE; i++) {
            const unsigned skip = skips->rest[bits->held >> (64 - WINDOW)];
            const int past = passed + passed_by(skip);
            if (!skip || past >= COEFFICIENTS)
                break;
            drop(bits, length_of(skip));
            passed = past;
            if (skip & ENDED)
                return 1;
        }
        if (i == AT_ONCE)
            continue;
        hold(bits);
        const struct step step = step_of(component->rest, bits->held, 0);
        passed += step.passed;
        if (!step.length || passed > COEFFICIENTS)
            return 0;
        drop(bits, step.length);
        if (step.ended || passed == COEFFICIENTS)
            return 1;
    }
}

/* The first coefficients of `count` blocks of a component; `last` is the one before them, and becomes their last. */
static inline int read_firsts(struct bits *shared, const struct skips *skips, const struct component *component, int *last,
                              int count, int firsts[]) {
    struct bits bits = *shared;
    int first = *last;
    for (int i = 0; i < count; i++) {
        if (!read_first(&bits, skips, component, &first) || !skip_rest(&bits, skips, component))
            return 0;
        firsts[i] = first;
    }
    *shared = bits;
    *last = first;
    return 1;
}
