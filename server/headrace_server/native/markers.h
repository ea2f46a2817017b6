/* The segments of a JPEG (ITU-T T.81, annex B), as far as whoever reads its headers needs them. */

#include <stdint.h>
#include <string.h>

enum {
    BASELINE = 0xc0, EXTENDED = 0xc1, CODES = 0xc4, RESTART = 0xd0, START = 0xd8, END = 0xd9, SCAN = 0xda,
    QUANTIZATION = 0xdb, INTERVAL = 0xdd, APPLICATION = 0xe0, EXIF = 0xe1, PROFILE = 0xe2, ADOBE = 0xee, COMMENT = 0xfe
};

/* Pieces of a colour profile: how many there were, and are to be. */
struct profile {
    int pieces, of_pieces;
};

static int two_bytes(const uint8_t *at) {
    return at[0] << 8 | at[1];
}

/* A segment that may be a piece of a colour profile; of pieces that are not in order libjpeg warns, or may. */
static int read_profile(struct profile *profile, const uint8_t *at, int64_t size) {
    if (size < 14 || memcmp(at, "ICC_PROFILE", 12))
        return 1;
    if (!profile->pieces)
        profile->of_pieces = at[13];
    return size > 14 && at[12] == ++profile->pieces && at[13] == profile->of_pieces;
}

static int is_complete(const struct profile *profile) {
    return profile->pieces == profile->of_pieces;
}
