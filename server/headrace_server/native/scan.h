/* The bytes of a scan between two markers, without the zeros that are stuffed into them, a buffer full at a time. */

enum { BUFFER = 3 << 17, BEHIND = 256 };

struct scan {
    const uint8_t *next, *end; /* what is not in the buffer yet */
    int64_t held;              /* so many bytes are in the buffer, and BEHIND zeros after them */
    int whole;                 /* nothing follows these but a marker, or what should be one */
    uint8_t bytes[BUFFER + BEHIND];
};

/* Takes bytes up to the next marker, as many as find room. A byte 0xff is followed by a zero, or begins a marker. */
static void take_bytes(struct scan *scan) {
    while (!scan->whole && scan->held < BUFFER) {
        const int64_t room = BUFFER - scan->held, left = scan->end - scan->next, most = room < left ? room : left;
        const uint8_t *escape = memchr(scan->next, 0xff, (size_t)most);
        const int64_t count = escape ? escape - scan->next : most;
        memcpy(scan->bytes + scan->held, scan->next, (size_t)count);
        scan->next += count;
        scan->held += count;
        if (!escape) {
            scan->whole = scan->next == scan->end;
        } else if (scan->end - escape < 2 || escape[1]) {
            scan->whole = 1;
        } else {
            scan->bytes[scan->held++] = 0xff;
            scan->next += 2;
        }
    }
    memset(scan->bytes + scan->held, 0, BEHIND);
}

/* Fills the buffer again, of which the first `passed` bytes are not needed any more. */
static void take_more_bytes(struct scan *scan, int64_t passed) {
    scan->held -= passed;
    memmove(scan->bytes, scan->bytes + passed, (size_t)scan->held);
    take_bytes(scan);
}

/* Whether the marker comes next. */
static int at_marker(const struct scan *scan, int marker) {
    return scan->whole && scan->end - scan->next >= 2 && scan->next[1] == marker;
}

static void begin_scan(struct scan *scan, const uint8_t *start, const uint8_t *end) {
    scan->next = start;
    scan->end = end;
    scan->held = scan->whole = 0;
}

/* Goes on behind the marker. */
static void begin_anew(struct scan *scan) {
    begin_scan(scan, scan->next + 2, scan->end);
}

static inline uint64_t eight_bytes(const uint8_t *bytes) {
    uint64_t word;
    memcpy(&word, bytes, sizeof word);
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    word = __builtin_bswap64(word);
#endif
    return word;
}
