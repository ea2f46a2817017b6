/* Levels of values, and brightness and colours to red, green and blue, in the fixed point of libjpeg. */

enum { LEVELS = 1024, COLOUR_BITS = 16, COLOUR_HALF = 1 << (COLOUR_BITS - 1) };

struct colours {
    uint8_t levels[LEVELS];
    /* What blue (cb) and red (cr) add, by their level. */
    int16_t red_of_cr[256], blue_of_cb[256];
    int32_t green_of_cr[256], green_of_cb[256];
};

static inline uint8_t byte(int value) {
    return (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
}

static void plan_colours(struct colours *colours) {
    for (int i = 0; i < LEVELS; i++)
        colours->levels[i] = byte(i - LEVELS / 2 + 128);
    for (int i = 0; i < 256; i++) {
        const int value = i - 128;
        colours->red_of_cr[i] = (int16_t)((91881 * value + COLOUR_HALF) >> COLOUR_BITS);
        colours->blue_of_cb[i] = (int16_t)((116130 * value + COLOUR_HALF) >> COLOUR_BITS);
        colours->green_of_cr[i] = -46802 * value + COLOUR_HALF;
        colours->green_of_cb[i] = -22554 * value;
    }
}

/* The level of a value around 0. Beyond 512 from it the builds of libjpeg differ, and it is `wild`. */
static inline uint8_t level_of(const uint8_t levels[LEVELS], int value, int *wild) {
    const int place = value + LEVELS / 2;
    *wild |= place & ~(LEVELS - 1);
    return levels[place & (LEVELS - 1)];
}

/* A row of pixels, of which 1 << `shared` have one of the colours together. */
static void to_rgb(const struct colours *colours, const uint8_t *y, const uint8_t *cb, const uint8_t *cr, int shared,
                   int64_t width, uint8_t *out) {
    for (int64_t x = 0; x < width; x++, out += 3) {
        const int blue = cb[x >> shared], red = cr[x >> shared];
        out[0] = byte(y[x] + colours->red_of_cr[red]);
        out[1] = byte(y[x] + ((colours->green_of_cb[blue] + colours->green_of_cr[red]) >> COLOUR_BITS));
        out[2] = byte(y[x] + colours->blue_of_cb[blue]);
    }
}

static void gray_to_rgb(const uint8_t *y, int64_t width, uint8_t *out) {
    for (int64_t x = 0; x < width; x++, out += 3)
        out[0] = out[1] = out[2] = y[x];
}
