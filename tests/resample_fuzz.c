/* Resizes random images of random sizes, in buffers of exactly their size, with every kernel; made to run under
 * sanitizers. Fails where two kernels differ. Usage: resample_fuzz ROUNDS */

#include <stdio.h>

#include "resample.c"
#include "xorshift.h"

/* Small ones above all, and now and then one that is long. */
static int64_t side(void) {
    const uint64_t bounds[] = {3, 9, 40, 200, 3000};
    return 1 + (int64_t)draw(bounds[draw(draw(8) ? 4 : 5)]);
}

static void box_within(float size, float *from, float *to) {
    *from = draw(2) ? 0 : size * (float)draw(1000) / 1000;
    *to = draw(2) ? size : *from + (size - *from) * (float)draw(1001) / 1000;
}

int main(int count, char **arguments) {
    for (int rounds = count > 1 ? atoi(arguments[1]) : 100; rounds > 0; rounds--) {
        const int channels = draw(2) ? 3 : 1, bicubic = (int)draw(2), down_first = (int)draw(2);
        const int64_t height = side(), width = side(), out_height = side(), out_width = side();
        const int64_t stride = width * channels + (int64_t)draw(5);
        const size_t size = (size_t)((height - 1) * stride + width * channels);
        const size_t out_size = (size_t)(out_height * out_width * channels);
        uint8_t *image = malloc(size), *out = malloc(out_size), *expected = malloc(out_size);
        float left, top, right, bottom;
        box_within((float)width, &left, &right);
        box_within((float)height, &top, &bottom);
        for (size_t i = 0; i < size; i++)
            image[i] = (uint8_t)draw(256);
        for (int kernel = 0; kernel <= headrace_best_kernel(); kernel++) {
            uint8_t *to = kernel ? out : expected;
            const int status =
                headrace_resample(kernel, down_first, bicubic, channels, image, height, width, stride, left, top, right,
                                  bottom, to, out_height, out_width, out_width * channels);
            if (status != DONE || memcmp(to, expected, out_size)) {
                fprintf(stderr, "kernel %d, status %d: %lld x %lld x %d to %lld x %lld\n", kernel, status,
                        (long long)height, (long long)width, channels, (long long)out_height, (long long)out_width);
                return 1;
            }
        }
        free(image), free(out), free(expected);
    }
    return 0;
}
