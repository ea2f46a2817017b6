/* The headers of a baseline JPEG (ITU-T T.81, annex B) of one component, or of brightness and two colours. */

enum { TABLES = 4, MOST_COMPONENTS = 3, MOST_ACROSS = 4, MOST_SIDE = 65500 }; /* the last two are libjpeg's */
enum { MOST_BLOCKS = 6 }; /* in a unit of the scan */

struct component {
    int id, across, down; /* so many of its blocks are in a unit of the scan */
    const uint16_t *quantization;
    const struct huffman *first, *rest; /* codes of a block's first coefficient, and of the others */
};

struct headers {
    int64_t height, width;
    int components, jfif, adobe; /* `adobe`: its number of the colours' transform, -1 without one */
    int interval; /* so many units lie between two restarts; 0: there are none */
    struct profile profile;
    struct component component[MOST_COMPONENTS];
    uint16_t quantization[TABLES][COEFFICIENTS]; /* in zigzag order; it begins with 0 where there is none */
    struct huffman huffman[2][TABLES];
};

static int read_quantization(struct headers *headers, const uint8_t *at, int64_t size) {
    while (size > 0) {
        const int wide = at[0] >> 4, number = at[0] & 15, bytes = 1 + COEFFICIENTS * (1 + wide);
        if (wide > 1 || number >= TABLES || size < bytes)
            return 0;
        for (int k = 0; k < COEFFICIENTS; k++) {
            headers->quantization[number][k] = (uint16_t)(wide ? two_bytes(at + 1 + 2 * k) : at[1 + k]);
            if (!headers->quantization[number][k])
                return 0;
        }
        at += bytes;
        size -= bytes;
    }
    return 1;
}

static int read_codes(struct headers *headers, const uint8_t *at, int64_t size) {
    while (size > 0) {
        const int rest = at[0] >> 4, number = at[0] & 15;
        if (rest > 1 || number >= TABLES)
            return 0;
        const int bytes = define(&headers->huffman[rest][number], at + 1, size - 1);
        if (!bytes)
            return 0;
        at += 1 + bytes;
        size -= 1 + bytes;
    }
    return 1;
}

/* A colour has one block in a unit, and brightness up to two in each direction. */
static int read_frame(struct headers *headers, const uint8_t *at, int64_t size) {
    if (headers->components || size < 6 || at[0] != 8)
        return 0;
    headers->height = two_bytes(at + 1);
    headers->width = two_bytes(at + 3);
    const int components = headers->components = at[5];
    if ((components != 1 && components != 3) || size != 6 + 3 * components)
        return 0;
    if (headers->height > MOST_SIDE || headers->width > MOST_SIDE)
        return 0;
    for (int i = 0; i < components; i++, at += 3) {
        struct component *component = &headers->component[i];
        component->id = at[6];
        component->across = at[7] >> 4;
        component->down = at[7] & 15;
        const int most = components == 1 ? MOST_ACROSS : i ? 1 : 2;
        if (component->across < 1 || component->across > most || component->down < 1 || component->down > most ||
            at[8] >= TABLES)
            return 0;
        component->quantization = headers->quantization[at[8]];
        if (components == 1)
            component->across = component->down = 1; /* whatever it says: a scan of one component goes by blocks */
    }
    return 1;
}

static int can_be_first(const struct huffman *table) {
    for (int i = 0; i < MOST_SYMBOLS; i++)
        if (table->symbols[i] > 15)
            return 0;
    return table->defined;
}

/* The only scan, of all components. */
static int read_scan(struct headers *headers, const uint8_t *at, int64_t size) {
    const int components = headers->components;
    if (!components || size != 4 + 2 * components || at[0] != components)
        return 0;
    const uint8_t *spectrum = at + 1 + 2 * components;
    if (spectrum[0] != 0 || spectrum[1] != COEFFICIENTS - 1 || spectrum[2] != 0)
        return 0;
    for (int i = 0; i < components; i++, at += 2) {
        struct component *component = &headers->component[i];
        const int first = at[2] >> 4, rest = at[2] & 15;
        if (at[1] != component->id || first >= TABLES || rest >= TABLES || !component->quantization[0])
            return 0;
        component->first = &headers->huffman[0][first];
        component->rest = &headers->huffman[1][rest];
        if (!can_be_first(component->first) || !component->rest->defined)
            return 0;
    }
    return 1;
}

/* As libjpeg decides it. */
static int colours_are_ycc(const struct headers *headers) {
    const struct component *component = headers->component;
    if (headers->components == 1 || headers->jfif)
        return 1;
    if (headers->adobe >= 0)
        return headers->adobe == 1;
    return component[0].id == 1 && component[1].id == 2 && component[2].id == 3;
}

static int read_segment(struct headers *headers, int marker, const uint8_t *at, int64_t size) {
    switch (marker) {
    case QUANTIZATION:
        return read_quantization(headers, at, size);
    case CODES:
        return read_codes(headers, at, size);
    case BASELINE:
    case EXTENDED:
        return read_frame(headers, at, size);
    case SCAN:
        return read_scan(headers, at, size) && colours_are_ycc(headers) &&
               is_complete(&headers->profile);
    case INTERVAL:
        headers->interval = size == 2 ? two_bytes(at) : 0;
        return size == 2;
    case APPLICATION:
        if (size < 14 || memcmp(at, "JFIF", 5))
            return 1;
        headers->jfif = 1;
        return at[5] == 1; /* of others libjpeg warns */
    case PROFILE:
        return read_profile(&headers->profile, at, size);
    case ADOBE:
        if (size >= 12 && !memcmp(at, "Adobe", 5))
            headers->adobe = at[11];
        return 1;
    default:
        return marker == COMMENT || (marker > APPLICATION && marker < APPLICATION + 16);
    }
}

/* Everything up to the scan's bits: where these begin, or NULL for what is out of the ordinary. */
static const uint8_t *read_headers(struct headers *headers, const uint8_t *data, int64_t size) {
    memset(headers, 0, sizeof *headers);
    headers->adobe = -1;
    if (size < 2 || data[0] != 0xff || data[1] != START)
        return NULL;
    const uint8_t *const end = data + size, *at = data + 2;
    int marker = START;
    while (marker != SCAN) {
        if (end - at < 4 || at[0] != 0xff)
            return NULL;
        marker = at[1];
        const int length = two_bytes(at + 2);
        if (length < 2 || end - at < 2 + length || !read_segment(headers, marker, at + 4, length - 2))
            return NULL;
        at += 2 + length;
    }
    return at;
}
