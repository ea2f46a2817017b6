/* Lanes: places in a scan at which it is read at the same time.
 *
 * Where a code begins is known only when the one before it has been found, so a processor that reads one lane waits for
 * most of the time. In the time that one takes, it reads three. The loop has no branch for how a block or a unit ends,
 * since nobody could predict that. */

enum { LANES = 3 };

struct lane {
    uint64_t at, until; /* bits from the beginning of the buffer */
    const struct place *place;
    int passed;                 /* coefficients of the block */
    int failed;                 /* what comes is no symbol */
    uint32_t *kept, *kept_most; /* where the next symbol is put that is kept, and where that must stop */
};

/* At least REAL_BITS bits, the next one highest. */
static inline uint64_t bits_at(const uint8_t *bytes, uint64_t at) {
    return eight_bytes(bytes + (at >> 3)) << (at & 7);
}

INLINED void pass(struct lane *lane, uint32_t symbol, int passed, int ended) {
    lane->at += (uint64_t)length_of(symbol);
    *lane->kept = symbol;
    lane->kept += !!(symbol & KEPT);
    lane->passed = ended ? 0 : passed;
    lane->place = lane->place->next[ended];
}

/* One symbol, however long it is. */
static void step_alone(const uint8_t *bytes, struct lane *lane) {
    const struct step step = step_of(lane->place->huffman, bits_at(bytes, lane->at), lane->place->first);
    const int passed = lane->passed + step.passed, ended = step.ended || passed == COEFFICIENTS;
    lane->failed = !step.length || passed > COEFFICIENTS;
    if (!lane->failed)
        pass(lane, symbol_of(step) | (ended ? ENDED : 0) | lane->place->kept, passed, ended);
}

/* What the table has for the next bits; 0 where it has nothing. */
INLINED int step_quickly(struct lane *lane, uint64_t *held) {
    const uint32_t symbol = lane->place->symbols[*held >> (64 - WINDOW)];
    const int passed = lane->passed + passed_by(symbol);
    if (!symbol || passed >= COEFFICIENTS)
        return 0;
    *held <<= length_of(symbol);
    pass(lane, symbol, passed, !!(symbol & ENDED));
    return 1;
}

static inline int is_going(const struct lane *lane) {
    return lane->at < lane->until && lane->kept < lane->kept_most && !lane->failed;
}

/* Reads `count` lanes, which the compiler knows, until one of them is done. */
INLINED void read_until_one_is_done(const uint8_t *bytes, struct lane *const lanes[], const int count) {
    struct lane lane[LANES];
    uint64_t held[LANES];
    for (int i = 0; i < count; i++)
        lane[i] = *lanes[i];
    for (;;) {
        int going = 1;
        for (int i = 0; i < count; i++)
            going &= is_going(&lane[i]);
        if (!going)
            break;
        for (int i = 0; i < count; i++)
            held[i] = bits_at(bytes, lane[i].at);
        for (int times = 0; times < AT_ONCE; times++)
            for (int i = 0; i < count; i++)
                if (!step_quickly(&lane[i], &held[i])) {
                    struct lane copy = lane[i]; /* so that the others can lie in registers */
                    step_alone(bytes, &copy);
                    lane[i] = copy;
                    held[i] = bits_at(bytes, copy.at);
                }
    }
    for (int i = 0; i < count; i++)
        *lanes[i] = lane[i];
}

/* Reads all lanes until each is done. */
static void read_lanes(const uint8_t *bytes, struct lane lanes[], int count) {
    struct lane *going[LANES];
    for (;;) {
        int left = 0;
        for (int i = 0; i < count; i++)
            if (is_going(&lanes[i]))
                going[left++] = &lanes[i];
        if (left == 3)
            read_until_one_is_done(bytes, going, 3);
        else if (left == 2)
            read_until_one_is_done(bytes, going, 2);
        else if (left == 1)
            read_until_one_is_done(bytes, going, 1);
        else
            return;
    }
}
