/* The size of an ordinary JPEG, from what comes before its scan; see `jpeg_header` in orientation.py, whose answer this is
 * wherever it gives one and there is no Exif. */

#include <stdint.h>
#include <string.h>

enum {
    LOOK_SCAN = 0xda, LOOK_BASELINE = 0xc0, LOOK_EXTENDED = 0xc1, LOOK_CODES = 0xc4, LOOK_QUANTIZATION = 0xdb,
    LOOK_INTERVAL = 0xdd, LOOK_APPLICATION = 0xe0, LOOK_EXIF = 0xe1, LOOK_PROFILE = 0xe2, LOOK_COMMENT = 0xfe
};

/* What is to be seen of a JPEG at a glance. */
struct glance {
    int64_t height, width; /* 0 for what is not ordinary: any but one scan of 8 bits and of 1 or 3 components */
    int has_exif;          /* or something of its kind, which may say which way up the picture is */
    int pieces, of_pieces; /* of a colour profile */
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

/* A segment of a colour profile's kind; with pieces that are not in order a picture is odd, whatever its pixels are. */
static int count_piece(struct glance *seen, const uint8_t *at, int64_t size) {
    if (size < 12 || memcmp(at, "ICC_PROFILE", 12))
        return 1;
    if (size <= 14 || at[12] != seen->pieces + 1 || (seen->pieces && at[13] != seen->of_pieces))
        return 0;
    seen->pieces = at[12];
    seen->of_pieces = at[13];
    return 1;
}

/* Notes the size in a frame's header, of `length` bytes; how many components it has, 0 where it is not ordinary. */
static int read_size(struct glance *seen, const uint8_t *at, int length) {
    if (length < 6 || at[0] != 8)
        return 0;
    const int components = at[5];
    seen->height = sixteen_bits(at + 1);
    seen->width = sixteen_bits(at + 3);
    if ((components != 1 && components != 3) || length != 6 + 3 * components || !seen->height || !seen->width)
        return 0;
    return is_usual_subsampling(at + 7, components) ? components : 0;
}

static struct glance look(const uint8_t *data, int64_t bytes) {
    const struct glance nothing = {0, 0, 0, 0, 0};
    struct glance seen = nothing;
    int components = 0;
    if (bytes < 4 || data[0] != 0xff || data[1] != 0xd8)
        return nothing;
    for (int64_t at = 2; bytes - at >= 5 && data[at] == 0xff;) {
        const int marker = data[at + 1], length = sixteen_bits(data + at + 2) - 2;
        if (marker == LOOK_SCAN)
            return components && data[at + 4] == components && seen.pieces == seen.of_pieces ? seen : nothing;
        if (length < 0 || bytes - at < 4 + length)
            return nothing;
        const uint8_t *content = data + at + 4;
        if (marker == LOOK_BASELINE || marker == LOOK_EXTENDED) {
            if (components || !(components = read_size(&seen, content, length)))
                return nothing;
        } else if (!is_indifferent(marker) || (marker == LOOK_PROFILE && !count_piece(&seen, content, length))) {
            return nothing;
        }
        seen.has_exif |= marker == LOOK_EXIF;
        at += 4 + length;
    }
    return nothing;
}
