/* The entropy-coded part of a JPEG (ITU-T T.81, annex F): Huffman codes, and the numbers behind these. */

#include <stdint.h>
#include <string.h>

/* Also where a compiler would not do it by itself: with constants it makes other loops, and other vectors for others. */
#define INLINED static inline __attribute__((always_inline))

enum { SHORT = 10, LONGEST_CODE = 16, MOST_SYMBOLS = 256, COEFFICIENTS = 64, MOST_FIRST_SIZE = 11 };
enum { END_OF_BLOCK = 0x00, SIXTEEN_ZEROS = 0xf0 };

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
