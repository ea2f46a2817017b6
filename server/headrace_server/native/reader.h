/* The units of a JPEG's scan, read one after the other in place of libjpeg's own reading, which takes longer. */

/* A block of a unit. */
struct kind {
    const struct codes *first, *rest; /* of its first coefficient, and of the others */
    int *last;                        /* the first coefficient of the block before it, of the same component */
};

struct reader {
    struct headers headers;
    struct scan scan;
    struct bits bits;
    struct codes codes[2][TABLES];
    struct kind kinds[MOST_BLOCKS];
    int blocks, last[MOST_COMPONENTS];
    int64_t left, before_marker; /* so many units are in the scan, and before its next marker */
    int markers;
};

static int64_t bits_left(const struct reader *reader) {
    return 8 * (reader->scan.bytes + reader->scan.held - reader->bits.next) + reader->bits.count;
}

/* Goes on at a bit of the buffer. */
static void begin_bits(struct reader *reader, int64_t at) {
    struct bits *bits = &reader->bits;
    *bits = (struct bits){.next = reader->scan.bytes + at / 8};
    bits->held = fetch(bits) << at % 8;
    bits->count -= (int)(at % 8);
}

/* Begins behind a marker. */
static void begin_interval(struct reader *reader) {
    const int64_t interval = reader->headers.interval;
    take_bytes(&reader->scan);
    begin_bits(reader, 0);
    reader->before_marker = interval && interval < reader->left ? interval : reader->left;
    memset(reader->last, 0, sizeof reader->last);
}

static void plan_kinds(struct reader *reader) {
    const struct headers *headers = &reader->headers;
    const struct huffman(*tables)[TABLES] = headers->huffman;
    for (int rest = 0; rest < 2; rest++)
        for (int i = 0; i < TABLES; i++)
            if (tables[rest][i].defined)
                plan_codes(&reader->codes[rest][i], &tables[rest][i], !rest);
    struct kind *kind = reader->kinds;
    for (int i = 0; i < headers->components; i++) {
        const struct component *component = &headers->component[i];
        const struct codes *first = &reader->codes[0][component->first - tables[0]];
        const struct codes *rest = &reader->codes[1][component->rest - tables[1]];
        for (int block = 0; block < component->across * component->down; block++)
            *kind++ = (struct kind){first, rest, &reader->last[i]};
    }
    reader->blocks = (int)(kind - reader->kinds);
}

static int64_t parts_of(int64_t side, int blocks) {
    return (side + 8 * blocks - 1) / (8 * blocks);
}

/* Whether the file is one that can be read so. */
static int begin_reading(struct reader *reader, const uint8_t *data, int64_t size) {
    const struct headers *headers = &reader->headers;
    const uint8_t *start = read_headers(&reader->headers, data, size);
    if (!start || !headers->height || !headers->width)
        return 0;
    plan_kinds(reader);
    const struct component *largest = &headers->component[0];
    reader->left = parts_of(headers->height, largest->down) * parts_of(headers->width, largest->across);
    reader->markers = 0;
    begin_scan(&reader->scan, start, data + size);
    begin_interval(reader);
    return 1;
}

/* Sees to it that the next unit lies in the buffer. */
static void hold_unit(struct reader *reader) {
    struct scan *scan = &reader->scan;
    if (scan->whole || bits_left(reader) >= 8 * MOST_BLOCKS * MOST_BLOCK)
        return;
    const int64_t at = 8 * scan->held - bits_left(reader);
    take_more_bytes(scan, at / 8);
    begin_bits(reader, at % 8);
}

/* Ends an interval: whether nothing is left but bits that fill a byte, and a marker which is the right one. */
static int end_interval(struct reader *reader) {
    const int64_t bits = bits_left(reader);
    if (bits < 0 || bits > 7 || !at_marker(&reader->scan, reader->left ? RESTART + reader->markers++ % 8 : END))
        return 0;
    if (reader->left) {
        begin_anew(&reader->scan);
        begin_interval(reader);
    }
    return 1;
}

INLINED int read_blocks_inlined(struct reader *reader, int16_t (**blocks)[COEFFICIENTS]) {
    int16_t waste[COEFFICIENTS];
    for (int i = 0; i < reader->blocks; i++) {
        const struct kind *kind = &reader->kinds[i];
        int16_t *block = blocks ? *blocks[i] : waste;
        if (!read_block(&reader->bits, kind->first, kind->rest, kind->last, block) || bits_left(reader) < 0)
            return 0;
    }
    return 1;
}

#if defined(__x86_64__)
__attribute__((target("bmi2"))) static int read_blocks_bmi2(struct reader *reader, int16_t (**blocks)[COEFFICIENTS]) {
    return read_blocks_inlined(reader, blocks);
}
#endif

static int read_blocks(struct reader *reader, int16_t (**blocks)[COEFFICIENTS]) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("bmi2"))
        return read_blocks_bmi2(reader, blocks);
#endif
    return read_blocks_inlined(reader, blocks);
}

/* Fills the blocks of the next unit, which are zeros, or passes it if there are none; 0 if anything is wrong with it. */
static int read_unit(struct reader *reader, int16_t (**blocks)[COEFFICIENTS]) {
    hold_unit(reader);
    if (!reader->left || !read_blocks(reader, blocks))
        return 0;
    reader->left--;
    return --reader->before_marker || end_interval(reader);
}

static int has_read_all(const struct reader *reader) {
    return !reader->left;
}
