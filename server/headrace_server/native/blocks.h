/* The blocks of a scan, one after the other, with every coefficient at its place.
 *
 * Of a symbol only the code is looked up; its number is then cut out of the bits behind it, without a branch, of which
 * half would be guessed wrong. What takes the time is that where a code begins is known only when the one before it has been
 * looked up. So nothing else may have to be waited for: the bits for later symbols are fetched while one is looked up. */

enum { ENDS_BLOCK = 128, LAST_COEFFICIENT = COEFFICIENTS - 1, NOWHERE = COEFFICIENTS };
enum { MOST_SIZE = 10, MOST_SYMBOL = LONGEST_CODE + MOST_SIZE };
enum { MOST_BLOCK = COEFFICIENTS * MOST_SYMBOL / 8 + 17 }; /* bytes, of which 8 are fetched too early, and 8 at once */
_Static_assert(MOST_BLOCK <= (int)BEHIND, "the zeros behind the last byte are enough for a block of nothing but symbols");

/* What the next bits begin with, if that is a code no longer than SHORT: bits 0 to 5 of a word say how long code and number
 * are together, 8 to 11 how long the number is, and 16 to 23 how many coefficients they pass, of which all are 0 but the
 * last; ENDS_BLOCK more than there are for the end of a block. 0 is anything else. */
struct codes {
    const struct huffman *huffman;
    uint32_t words[1 << SHORT];
};

/* Bits of a scan's buffer, the next one highest. */
struct bits {
    uint64_t held;
    int count;
    const uint8_t *next; /* byte, of which `held` may hold the first bits already */
};

/* Where coefficients go, and what claims to lie behind the last one. */
static const uint8_t places[ENDS_BLOCK + COEFFICIENTS] = {
    0,  1,  8,  16, 9,  2,  3,  10, 17, 24, 32, 25, 18, 11, 4,  5,
    12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6,  7,  14, 21, 28,
    35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51,
    58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62,
    [LAST_COEFFICIENT ... ENDS_BLOCK + COEFFICIENTS - 1] = LAST_COEFFICIENT,
};

/* Of a code as `code_of` gives it; 0 for what is none, or none of a baseline JPEG. */
static inline uint32_t word_of(int code, int first) {
    const int length = code >> 8, symbol = code & 0xff, size = first ? symbol : symbol & 15;
    const int ends = !first && symbol == END_OF_BLOCK, passed = ends ? ENDS_BLOCK : first ? 0 : (symbol >> 4) + 1;
    if (!code || (first ? size > MOST_FIRST_SIZE : size > MOST_SIZE || (!size && !ends && symbol != SIXTEEN_ZEROS)))
        return 0;
    return (uint32_t)(length + size) | (uint32_t)size << 8 | (uint32_t)passed << 16;
}

static void plan_codes(struct codes *codes, const struct huffman *huffman, int first) {
    codes->huffman = huffman;
    for (int bits = 0; bits < 1 << SHORT; bits++)
        codes->words[bits] = word_of(huffman->short_codes[bits], first);
}

INLINED int length_of_both(uint32_t word) {
    return word & 0x3f;
}

/* The number that belongs to a word, in bits that begin with its code: below zero where its first bit is 0. No comparison,
 * which might become a branch, and shifts by the word as it is: of that a processor looks at nothing but the length. */
INLINED int16_t number_behind(uint64_t held, uint32_t word) {
    const int others = (int)(~0u << (word >> 8 & 31)); /* the bits that the number does not have */
    const int number = (int)(held >> (-word & 63)) & ~others;
    const int is_below = (2 * number + others + 1) >> 31; /* all bits or none */
    return (int16_t)(number + ((others + 1) & is_below));
}

INLINED uint32_t word_at(uint64_t held, const struct codes *codes, int first) {
    const uint32_t word = codes->words[held >> (64 - SHORT)];
    return __builtin_expect(!!word, 1) ? word : word_of(code_of(codes->huffman, held), first);
}

INLINED void take(struct bits *bits, uint32_t word) {
    bits->held <<= length_of_both(word);
    bits->count -= length_of_both(word);
}

/* What is to be put behind the bits that are held, so that there are 56 at least; they are counted already. */
INLINED uint64_t fetch(struct bits *bits) {
    const uint64_t more = eight_bytes(bits->next) >> bits->count;
    bits->next += (63 - bits->count) >> 3;
    bits->count |= 56;
    return more;
}

/* Takes a symbol after the first, puts `more` behind the bits, and says where in the block that leads: NOWHERE, if there is
 * none. */
INLINED int read_coefficient(struct bits *bits, uint64_t more, const struct codes *codes, int16_t *block, int k) {
    const uint32_t word = word_at(bits->held, codes, 0);
    if (__builtin_expect(!word, 0))
        return NOWHERE;
    k += (int)(word >> 16);
    block[places[k]] = number_behind(bits->held, word);
    bits->held |= more;
    take(bits, word);
    return k;
}

/* Fills a block of zeros, whose first coefficient follows on `last`; 0 if it is none of a baseline JPEG. May read what lies
 * up to MOST_BLOCK bytes further. */
INLINED int read_block(struct bits *from, const struct codes *first, const struct codes *rest, int *last, int16_t *block) {
    struct bits bits = *from;
    bits.held |= fetch(&bits);
    const uint32_t word = word_at(bits.held, first, 1);
    if (!word)
        return 0;
    *last += number_behind(bits.held, word);
    block[0] = (int16_t)*last;
    take(&bits, word);
    int k = 0;
    do {
        const int enough = bits.count >= MOST_SYMBOL;
        uint64_t more = fetch(&bits);
        if (__builtin_expect(!enough, 0)) {
            bits.held |= more;
            more = 0;
        }
        k = read_coefficient(&bits, more, rest, block, k);
        if (k >= LAST_COEFFICIENT)
            break;
        k = read_coefficient(&bits, 0, rest, block, k);
    } while (k < LAST_COEFFICIENT);
    *from = bits;
    return (k == LAST_COEFFICIENT || k >= ENDS_BLOCK) && *last == (int16_t)*last;
}
