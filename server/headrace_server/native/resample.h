/* See resample.c. */

#ifndef HEADRACE_RESAMPLE
#define HEADRACE_RESAMPLE

#include <stdint.h>

/* Along an axis of `length` old pixels, those between the edges `from` and `to` make `size` new ones. Edges are in single
 * precision because Pillow's are. Of the new ones only some may be wanted, `skipped` are before these; and of the old ones
 * only some may be there, `before` are not that come before these. Those that are `mirrored` come the last first. */
struct stretch {
    int64_t length, size;
    float from, to;
    int bicubic, mirrored;
    int64_t skipped, before;
};

/* Old pixels of the whole. */
struct range {
    int64_t first, count;
};

/* Of which the `wanted` new ones are made. */
struct range headrace_seen(const struct stretch *stretch, int64_t wanted);

/* Makes `out` of the image. Both have 1 or 3 channels and contiguous rows, `stride` bytes apart, which may go up in `out`;
 * only `across` may be mirrored. The passes go across and then down, or the other way round. For any number of threads at once; holds no memory when it returns. Not 0
 * without memory. */
int headrace_stretch(int kernel, int down_first, int channels, const uint8_t *pixels, int64_t height, int64_t width,
                     int64_t stride, const struct stretch *down, const struct stretch *across, uint8_t *out,
                     int64_t out_height, int64_t out_width, int64_t out_stride);

#endif
