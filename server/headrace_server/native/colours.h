/* Brightness and colours to red, green and blue, in the fixed point of libjpeg, by loops that can be made vectors of. */

enum { COLOUR_BITS = 16, COLOUR_HALF = 1 << (COLOUR_BITS - 1) };
enum { RED_OF_CR = 91881, BLUE_OF_CB = 116130, GREEN_OF_CR = -46802, GREEN_OF_CB = -22554 };

INLINED uint8_t byte(int value) {
    return (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
}

/* A row of pixels, of which 1 << `shared` have one of the colours together. */
INLINED void to_rgb(const uint8_t *restrict y, const uint8_t *restrict cb, const uint8_t *restrict cr, const int shared,
                    int64_t width, uint8_t *restrict out) {
    for (int64_t x = 0; x < width; x++) {
        const int blue = cb[x >> shared] - 128, red = cr[x >> shared] - 128;
        out[3 * x] = byte(y[x] + ((RED_OF_CR * red + COLOUR_HALF) >> COLOUR_BITS));
        out[3 * x + 1] = byte(y[x] + ((GREEN_OF_CB * blue + GREEN_OF_CR * red + COLOUR_HALF) >> COLOUR_BITS));
        out[3 * x + 2] = byte(y[x] + ((BLUE_OF_CB * blue + COLOUR_HALF) >> COLOUR_BITS));
    }
}

INLINED void gray_to_rgb(const uint8_t *restrict y, int64_t width, uint8_t *restrict out) {
    for (int64_t x = 0; x < width; x++)
        out[3 * x] = out[3 * x + 1] = out[3 * x + 2] = y[x];
}
