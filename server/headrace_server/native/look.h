/* The size of an ordinary JPEG, from what comes before its scan; see `jpeg_header` in orientation.py, whose answer this is
 * wherever it gives one. */

#include <stdint.h>

enum {
    LOOK_SCAN = 0xda, LOOK_BASELINE = 0xc0, LOOK_EXTENDED = 0xc1, LOOK_CODES = 0xc4, LOOK_QUANTIZATION = 0xdb,
    LOOK_INTERVAL = 0xdd, LOOK_APPLICATION = 0xe0, LOOK_EXIF = 0xe1, LOOK_COMMENT = 0xfe
};

struct size {
    int64_t height, width;
};

static int sixteen_bits(const uint8_t *at) {
    return at[0] << 8 | at[1];
}

/* Those that say nothing of the size, nor of which way up the picture is. */
static int is_indifferent(int marker) {
    return marker == LOOK_CODES || marker == LOOK_QUANTIZATION || marker == LOOK_INTERVAL || marker == LOOK_COMMENT ||
           (marker >= LOOK_APPLICATION && marker < LOOK_APPLICATION + 16 && marker != LOOK_EXIF);
}

/* Zeros for what is not ordinary: any but one frame of 8 bits and 1 or 3 components, whose scan has them all. */
static struct size look(const uint8_t *data, int64_t bytes) {
    const struct size nothing = {0, 0};
    struct size size = nothing;
    int components = 0;
    if (bytes < 4 || data[0] != 0xff || data[1] != 0xd8)
        return nothing;
    for (int64_t at = 2; bytes - at >= 5 && data[at] == 0xff;) {
        const int marker = data[at + 1], length = sixteen_bits(data + at + 2);
        if (marker == LOOK_SCAN)
            return components && data[at + 4] == components ? size : nothing;
        if (marker == LOOK_BASELINE || marker == LOOK_EXTENDED) {
            if (components || bytes - at < 10 || data[at + 4] != 8)
                return nothing;
            size = (struct size){sixteen_bits(data + at + 5), sixteen_bits(data + at + 7)};
            components = data[at + 9];
            if ((components != 1 && components != 3) || !size.height || !size.width)
                return nothing;
        } else if (!is_indifferent(marker)) {
            return nothing;
        }
        if (length < 2)
            return nothing;
        at += 2 + length;
    }
    return nothing;
}
