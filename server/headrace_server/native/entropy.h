/* The entropy-coded part of a JPEG (ITU-T T.81, annex F): bits, Huffman codes in them, and the numbers behind these. */

enum { SHORT = 10, LONGEST_CODE = 16, MOST_SYMBOLS = 256, COEFFICIENTS = 64, MOST_FIRST_SIZE = 11 };
enum { END_OF_BLOCK = 0x00, SIXTEEN_ZEROS = 0xf0 };

/* Bits of data in which each byte 0xff is followed by a 0 that does not count, up to a marker or the end. */
struct bits {
    const uint8_t *next, *end;
    uint64_t held; /* the next bit is the highest; `count` of them are valid, and behind these may be some of the next byte */
    int count;
    int made_up; /* how many zeros were put behind the last real bit, until now */
};

static uint64_t eight_bytes(const uint8_t *bytes) {
    uint64_t word;
    memcpy(&word, bytes, sizeof word);
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    word = __builtin_bswap64(word);
#endif
    return word;
}

static void hold_one_by_one(struct bits *bits) {
    for (; bits->count < 56; bits->count += 8) {
        const uint8_t *at = bits->next;
        const int escaped = at < bits->end && *at == 0xff;
        if (at == bits->end || (escaped && (at + 1 == bits->end || at[1]))) {
            bits->made_up += 8;
            continue;
        }
        bits->held |= (uint64_t)*at << (56 - bits->count);
        bits->next += 1 + escaped;
    }
}

/* Holds at least 56 bits. */
static inline void hold(struct bits *bits) {
    const uint64_t ones = 0x0101010101010101, highest = 0x8080808080808080;
    const uint64_t word = bits->end - bits->next >= 8 ? eight_bytes(bits->next) : ~(uint64_t)0;
    if (word & highest & (~word - ones)) { /* a byte is 0xff, or fewer than eight are left */
        struct bits copy = {bits->next, bits->end, bits->held, bits->count, bits->made_up};
        hold_one_by_one(&copy); /* a copy, so that what the caller has can lie in registers */
        bits->next = copy.next;
        bits->held = copy.held;
        bits->count = copy.count;
        bits->made_up = copy.made_up;
        return;
    }
    bits->held |= word >> bits->count;
    bits->next += (63 - bits->count) >> 3;
    bits->count |= 56;
}

static inline void drop(struct bits *bits, int count) {
    bits->held <<= count;
    bits->count -= count;
}

/* How many real bits are left before the marker; below 0 if more were taken than there are. */
static int left(const struct bits *bits) {
    return bits->count - bits->made_up;
}

struct huffman {
    int defined;
    uint16_t short_codes[1 << SHORT]; /* by the next bits: a code's length << 8 | its symbol; 0 where it is longer */
    /* Codes of a length lie below `limit`, from the left of 16 bits on; their symbols begin at `offset` + the code. */
    int limit[LONGEST_CODE + 1], offset[LONGEST_CODE + 1];
    uint8_t symbols[MOST_SYMBOLS];
};

static void define_code(struct huffman *table, int code, int length, uint8_t symbol) {
    if (length > SHORT)
        return;
    const int rest = SHORT - length;
    for (int i = 0; i < 1 << rest; i++)
        table->short_codes[(code << rest) + i] = (uint16_t)(length << 8 | symbol);
}

/* The table in a segment, of 16 counts and that many symbols; how many bytes it takes, 0 if it is none. */
static int define(struct huffman *table, const uint8_t *at, int64_t size) {
    int code = 0, total = 0;
    if (size < LONGEST_CODE)
        return 0;
    memset(table, 0, sizeof *table);
    for (int length = 1; length <= LONGEST_CODE; length++, code *= 2) {
        const int count = at[length - 1];
        /* a code of nothing but ones is not allowed */
        if (count && (total + count > MOST_SYMBOLS || LONGEST_CODE + total + count > size || code + count >= 1 << length))
            return 0;
        table->offset[length] = total - code;
        for (int i = 0; i < count; i++, code++, total++) {
            table->symbols[total] = at[LONGEST_CODE + total];
            define_code(table, code, length, table->symbols[total]);
        }
        table->limit[length] = code << (LONGEST_CODE - length);
    }
    table->defined = 1;
    return LONGEST_CODE + total;
}

/* The code that is next in the highest of the bits: its length << 8 | its symbol; 0 if there is none. */
static inline int code_of(const struct huffman *table, uint64_t held) {
    const int found = table->short_codes[held >> (64 - SHORT)], next = (int)(held >> (64 - LONGEST_CODE));
    for (int length = SHORT + 1; !found && length <= LONGEST_CODE; length++)
        if (next < table->limit[length])
            return length << 8 | table->symbols[table->offset[length] + (next >> (LONGEST_CODE - length))];
    return found;
}

/* What the number of `size` bits stands for that is in the highest: below zero where its first bit is 0. */
static inline int number(uint64_t held, int size) {
    const int value = (int)(held >> 1 >> (63 - size));
    return size && value < 1 << (size - 1) ? value - (1 << size) + 1 : value;
}

/* A symbol and its number, `length` bits together: the end of a block, or so many coefficients `passed`, of which all are
 * 0 but the last. No length is no symbol, or one that no baseline JPEG has. */
struct step {
    int length, ended, passed, value;
};

/* A symbol is the size of a block's first coefficient; or of a later one, with how many zeros come before it. No size is
 * then the end of the block, or sixteen zeros. 31 bits are enough for it. */
static inline struct step step_of(const struct huffman *table, uint64_t held, int first) {
    const int code = code_of(table, held), length = code >> 8, symbol = code & 0xff;
    const int size = first ? symbol : symbol & 15, zeros = first ? 0 : symbol >> 4;
    const int ended = !first && symbol == END_OF_BLOCK;
    if (!code || (first ? size > MOST_FIRST_SIZE : !size && !ended && symbol != SIXTEEN_ZEROS))
        return (struct step){0};
    return (struct step){length + size, ended, ended ? 0 : zeros + 1, number(held << length, size)};
}

/* The same, if it lies wholly in `bits`, which are so many as `window` says. */
static struct step short_step(const struct huffman *table, int bits, int window, int first) {
    const struct step step = step_of(table, (uint64_t)bits << (64 - window), first);
    return step.length <= window ? step : (struct step){0};
}
