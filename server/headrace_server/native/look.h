/* The size of an ordinary JPEG, from what comes before its scan; see `jpeg_header` in orientation.py, whose answer this is
 * wherever it gives one and there is no Exif. */

#include <stdint.h>

enum {
    LOOK_SCAN = 0xda, LOOK_BASELINE = 0xc0, LOOK_EXTENDED = 0xc1, LOOK_CODES = 0xc4, LOOK_QUANTIZATION = 0xdb,
    LOOK_INTERVAL = 0xdd, LOOK_APPLICATION = 0xe0, LOOK_EXIF = 0xe1, LOOK_COMMENT = 0xfe
};

/* What is to be seen of a JPEG at a glance. */
struct glance {
    int64_t height, width; /* 0 for what is not ordinary: any but one scan of 8 bits and of 1 or 3 components */
    int has_exif;          /* or something of its kind, which may say which way up the picture is */
};

static int sixteen_bits(const uint8_t *at) {
    return at[0] << 8 | at[1];
}

/* Those that say nothing of the picture's size. */
static int is_indifferent(int marker) {
    return marker == LOOK_CODES || marker == LOOK_QUANTIZATION || marker == LOOK_INTERVAL || marker == LOOK_COMMENT ||
           (marker >= LOOK_APPLICATION && marker < LOOK_APPLICATION + 16);
}

/* 4:4:4, 4:2:2, 4:2:0, 4:4:0 or 4:1:1, or a single component. The factors are in every third byte. */
static int is_usual_subsampling(const uint8_t *factors, int components) {
    const int first = factors[0];
    if (components == 1)
        return first == 0x11;
    return (first == 0x11 || first == 0x21 || first == 0x22 || first == 0x12 || first == 0x41) && factors[3] == 0x11 &&
           factors[6] == 0x11;
}

static struct glance look(const uint8_t *data, int64_t bytes) {
    const struct glance nothing = {0, 0, 0};
    struct glance seen = nothing;
    int components = 0;
    if (bytes < 4 || data[0] != 0xff || data[1] != 0xd8)
        return nothing;
    for (int64_t at = 2; bytes - at >= 5 && data[at] == 0xff;) {
        const int marker = data[at + 1], length = sixteen_bits(data + at + 2);
        if (marker == LOOK_SCAN)
            return components && data[at + 4] == components ? seen : nothing;
        if (marker == LOOK_BASELINE || marker == LOOK_EXTENDED) {
            if (components || bytes - at < 10 || data[at + 4] != 8)
                return nothing;
            seen.height = sixteen_bits(data + at + 5);
            seen.width = sixteen_bits(data + at + 7);
            components = data[at + 9];
            if ((components != 1 && components != 3) || length != 8 + 3 * components || bytes - at < 2 + length ||
                !seen.height || !seen.width || !is_usual_subsampling(data + at + 11, components))
                return nothing;
        } else if (!is_indifferent(marker)) {
            return nothing;
        }
        if (length < 2)
            return nothing;
        seen.has_exif |= marker == LOOK_EXIF;
        at += 2 + length;
    }
    return nothing;
}
