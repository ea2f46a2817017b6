/* See resample.c. */

#include <stdint.h>

int headrace_resample(int kernel, int down_first, int bicubic, int channels, const uint8_t *pixels, int64_t height,
                      int64_t width, int64_t stride, float left, float top, float right, float bottom, uint8_t *out,
                      int64_t out_height, int64_t out_width, int64_t out_stride);
