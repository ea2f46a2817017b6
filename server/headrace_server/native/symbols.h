/* What the next bits of a scan hold: symbols, looked up in tables.
 *
 * Each is a word: bits 0 to 5 say how many bits it takes, together with what lies between them and the number that it
 * stands for; 6 to 12 how many coefficients it passes; then whether a block ENDED with it and whether it is to be KEPT;
 * 16 to 31 are the last coefficient's number. 0 is what does not lie in the bits that were looked at, or is none.
 * Of symbols that are not kept there are as many in a word as fit. */

enum { WINDOW = 12, AT_ONCE = 3, REAL_BITS = 57, MOST_LENGTH = (REAL_BITS - WINDOW) / (AT_ONCE - 1) };
enum { ENDED = 1 << 13, KEPT = 1 << 14 };

/* Where in a unit of the scan we are: in the block of a component, at its first coefficient or behind that. */
struct place {
    const uint32_t *symbols; /* by the next WINDOW bits */
    const struct huffman *huffman;
    int first;
    uint32_t kept;               /* KEPT, or 0 */
    const struct place *next[2]; /* after a symbol; [1]: after one that ended a block */
};

static inline int length_of(uint32_t symbol) {
    return symbol & 0x3f;
}

static inline int passed_by(uint32_t symbol) {
    return symbol >> 6 & 0x7f;
}

static inline int number_of(uint32_t symbol) {
    return (int32_t)symbol >> 16;
}

static inline uint32_t symbol_of(struct step step) {
    return (uint32_t)step.value << 16 | (uint32_t)(step.length | step.passed << 6 | (step.ended ? ENDED : 0));
}

/* Symbols with their numbers. */
static void plan_kept(uint32_t symbols[1 << WINDOW], const struct huffman *huffman, int first) {
    for (int bits = 0; bits < 1 << WINDOW; bits++) {
        const struct step step = step_of(huffman, (uint64_t)bits << (64 - WINDOW), first);
        symbols[bits] = step.length && step.length <= WINDOW ? symbol_of(step) | KEPT : 0;
    }
}

/* The symbol, and all those behind it that can be told from the bits: for that the code must lie in them, not the number.
 * Behind a block's last coefficient no end is said, so this stops before that. */
static uint32_t with_followers(uint32_t symbol, const struct huffman *rest, int bits) {
    while (!(symbol & ENDED) && length_of(symbol) < WINDOW) {
        const uint64_t held = (uint64_t)bits << (64 - WINDOW + length_of(symbol));
        const struct step step = step_of(rest, held, 0);
        if (!step.length || length_of(symbol) + (code_of(rest, held) >> 8) > WINDOW)
            break;
        if (length_of(symbol) + step.length > MOST_LENGTH || passed_by(symbol) + step.passed >= COEFFICIENTS)
            break;
        symbol += symbol_of((struct step){step.length, step.ended, step.passed, 0});
    }
    return symbol;
}

/* First coefficients, and what follows them of the others, which do not count. */
static void plan_firsts(uint32_t symbols[1 << WINDOW], const struct huffman *first, const struct huffman *rest) {
    plan_kept(symbols, first, 1);
    for (int bits = 0; bits < 1 << WINDOW; bits++)
        if (symbols[bits])
            symbols[bits] = with_followers(symbols[bits], rest, bits);
}

static void plan_skips(uint32_t symbols[1 << WINDOW], const struct huffman *rest) {
    for (int bits = 0; bits < 1 << WINDOW; bits++)
        symbols[bits] = with_followers(0, rest, bits);
}
