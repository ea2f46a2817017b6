/* JPEGs decoded and resized into their places, several in one call, by the libjpeg-turbo that Pillow brings.
 *
 * The pixels are those of libjpeg's own decoding, in full and as it does it by default. What it warns of or fails at is
 * not made: somebody else may say what is wrong. What libjpeg-turbo takes most of the time for is to read the codes, which
 * is done for it here wherever nothing about them is out of the ordinary. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "entropy.h"
#include "markers.h"
#include "headers.h"
#include "scan.h"
#include "blocks.h"
#include "reader.h"
#include "libjpeg.h"
#include "decoders.h"
#include "look.h"
#include "resample.h"

enum { ROWS = 16, UNIT = 32 /* the most pixels across that a JPEG codes together */ };

/* Rows and columns of a picture. */
struct window {
    int64_t top, left, down, across;
};

/* A JPEG that is decoded at 1, 1/2, 1/4 or 1/8 of its size. */
struct jpeg_file {
    const uint8_t *data;
    int64_t size, height, width, factor;
    uint8_t *into; /* where all of it is put; NULL: the decoder has memory of its own */
};

/* A JPEG, the window of it to be resized, and what of that is wanted, and where. */
struct picture {
    const uint8_t *data;
    int64_t size;
    int64_t height, width; /* 0 where they cannot be told at a glance */
    struct window window;
    int64_t new_height, new_width, bicubic;
    struct window wanted; /* of the window resized */
    int64_t mirrored, upside_down;
    uint8_t *out; /* NULL: not to be made */
    int64_t made;
};

static int64_t least_of(int64_t a, int64_t b) {
    return a < b ? a : b;
}

static int64_t smaller(int64_t side, int64_t factor) {
    return (side + factor - 1) / factor;
}

/* Leaves the columns out that are not seen: a unit beside those that are is needed for the colours of their edge. */
static void choose_columns(struct decoder *decoder, const struct window *seen, int64_t whole) {
    const int64_t left = seen->left > UNIT ? seen->left - UNIT : 0;
    const int64_t right = least_of(seen->left + seen->across + UNIT, whole);
    uint32_t first = (uint32_t)left, width = (uint32_t)(right - left);
    if (width < whole)
        decoder->library->crop(&decoder->jpeg, &first, &width);
    decoder->left = first;
    decoder->stride = (int64_t)width * 3;
}

/* The next `count` rows, from row `slot` of the pixels on. Whether there were so many. */
static int read_rows(struct decoder *decoder, int64_t slot, int64_t count) {
    while (count) {
        uint8_t *rows[ROWS];
        const int64_t most = least_of(count, ROWS);
        for (int64_t i = 0; i < most; i++)
            rows[i] = decoder->pixels + (slot + i) * decoder->stride;
        const uint32_t done = decoder->library->read_rows(&decoder->jpeg, rows, (uint32_t)most);
        if (!done)
            return 0;
        slot += done;
        count -= done;
    }
    return 1;
}

/* Whether there were so many. */
static int skip_rows(struct decoder *decoder, int64_t count) {
    return !count || decoder->library->skip_rows(&decoder->jpeg, (uint32_t)count) == count;
}

/* Of what is outside the window the codes are read all the same, for their flaws. */
static int decode_window(struct decoder *decoder, const struct window *seen, uint8_t *into) {
    const int64_t below = decoder->jpeg.out_height - seen->top - seen->down;
    choose_columns(decoder, seen, decoder->jpeg.out_width);
    if (!into && !make_room(decoder, (size_t)((seen->down + 1) * decoder->stride)))
        return 0;
    decoder->pixels = into ? into : decoder->memory;
    if (!skip_rows(decoder, seen->top) || !read_rows(decoder, 0, seen->down))
        return 0;
    /* whoever skips the last row, too, leaves what is before it unread */
    return !below || (skip_rows(decoder, below - 1) && read_rows(decoder, seen->down, 1));
}

/* In place of libjpeg's own. */
static int read_unit_for(struct jpeg *jpeg, int16_t (**blocks)[COEFFICIENTS]) {
    if (!read_unit(&((struct decoder *)jpeg->client_data)->reader, blocks))
        fail(jpeg);
    return 1;
}

/* Ends a picture of which all rows have been read; whether nothing was wrong with it. */
static int finish(struct decoder *decoder, int read_here) {
    if (read_here)
        decoder->library->leave(&decoder->jpeg); /* it stands at the scan's beginning, and would look for its end */
    else
        decoder->library->finish(&decoder->jpeg);
    return !decoder->warnings && (!read_here || has_read_all(&decoder->reader));
}

/* The window of a file's picture into the decoder's pixels, its codes read here or by libjpeg; false for any flaw of the
 * picture, also outside the window. */
static int decode(struct decoder *decoder, const struct jpeg_file *file, const struct window *seen, int read_here) {
    const struct libjpeg *library = decoder->library;
    struct jpeg *jpeg = &decoder->jpeg;
    if (setjmp(decoder->failed))
        return 0;
    decoder->warnings = 0;
    decoder->pictures++;
    forget_tables(jpeg);
    library->source(jpeg, file->data, (unsigned long)file->size);
    if (library->read_header(jpeg, 1) != JPEG_HEADER_READ)
        return 0;
    jpeg->out_colours = JPEG_RGB;
    jpeg->scale_divisor = (uint32_t)file->factor;
    library->start(jpeg);
    if (jpeg->out_height != smaller(file->height, file->factor) || jpeg->out_width != smaller(file->width, file->factor) ||
        jpeg->out_components[1] != 3)
        return 0;
    if (read_here)
        jpeg->codes->read_unit = read_unit_for;
    return decode_window(decoder, seen, file->into) && finish(decoder, read_here);
}

/* As `decode`; where codes are out of the ordinary, libjpeg has the last word. A decoder that failed is not to be used
 * again. */
static int decode_fast(struct decoder *decoder, const struct jpeg_file *file, const struct window *seen) {
    if (!decoder->library->leave || !begin_reading(&decoder->reader, file->data, file->size))
        return decode(decoder, file, seen, 0);
    if (decode(decoder, file, seen, 1))
        return 1;
    decoder->library->leave(&decoder->jpeg);
    return decode(decoder, file, seen, 0);
}

static struct stretch stretch_of(const struct picture *picture, int64_t length, int64_t size, int64_t skipped) {
    return (struct stretch){.length = length, .size = size, .to = (float)length, .skipped = skipped,
                            .bicubic = picture->bicubic != 0};
}

static int is_resized(const struct picture *picture) {
    return picture->new_height != picture->window.down || picture->new_width != picture->window.across;
}

/* What of the picture the wanted part is made of. */
static struct window seen_window(const struct picture *picture, const struct stretch *down, const struct stretch *across) {
    const struct window *window = &picture->window, *wanted = &picture->wanted;
    struct range rows = {wanted->top, wanted->down}, columns = {wanted->left, wanted->across};
    if (is_resized(picture)) {
        rows = headrace_seen(down, wanted->down);
        columns = headrace_seen(across, wanted->across);
    }
    return (struct window){window->top + rows.first, window->left + columns.first, rows.count, columns.count};
}

static void copy_row(uint8_t *restrict to, const uint8_t *restrict from, int64_t width, int mirrored) {
    if (!mirrored) {
        memcpy(to, from, (size_t)width * 3);
        return;
    }
    from += 3 * (width - 1);
    for (int64_t x = 0; x < width; x++, to += 3, from -= 3)
        to[0] = from[0], to[1] = from[1], to[2] = from[2];
}

static int resize(const struct decoder *decoder, const struct picture *picture, const struct window *seen,
                  const struct stretch *down, const struct stretch *across, int kernel, int tall_down_first) {
    const int64_t stride = decoder->stride, out_height = picture->wanted.down, out_width = picture->wanted.across;
    const int64_t row = out_width * 3, out_stride = picture->upside_down ? -row : row;
    const uint8_t *pixels = decoder->pixels + (seen->left - decoder->left) * 3;
    uint8_t *const out = picture->out + (picture->upside_down ? (out_height - 1) * row : 0);
    if (!is_resized(picture)) {
        for (int64_t y = 0; y < out_height; y++)
            copy_row(out + y * out_stride, pixels + y * stride, out_width, across->mirrored);
        return 1;
    }
    const int64_t less_high = down->length - down->size, less_wide = across->length - across->size;
    const int down_first = tall_down_first && less_high > 0 && less_high > 2 * less_wide;
    return !headrace_stretch(kernel, down_first, 3, pixels, seen->down, seen->across, stride, down, across, out,
                             out_height, out_width, out_stride);
}

/* Whether it was made. A decoder that has failed is of no use any more, and NULL afterwards. */
static int make(struct decoder **decoder, const struct picture *picture, int kernel, int tall_down_first) {
    const struct window *window = &picture->window, *wanted = &picture->wanted;
    struct stretch down = stretch_of(picture, window->down, picture->new_height, wanted->top);
    struct stretch across = stretch_of(picture, window->across, picture->new_width, wanted->left);
    across.mirrored = picture->mirrored != 0;
    const struct window seen = seen_window(picture, &down, &across);
    down.before = seen.top - window->top;
    across.before = seen.left - window->left;
    const struct jpeg_file file = {picture->data, picture->size, picture->height, picture->width, .factor = 1};
    if (decode_fast(*decoder, &file, &seen))
        return resize(*decoder, picture, &seen, &down, &across, kernel, tall_down_first);
    discard(*decoder);
    *decoder = NULL;
    return 0;
}

static int lies_in(const struct window *window, int64_t height, int64_t width) {
    return window->top >= 0 && window->left >= 0 && window->down > 0 && window->across > 0 &&
           window->top <= height - window->down && window->left <= width - window->across;
}

/* Whether it is one whose parts may be decoded, as they may not of what is rare: where libjpeg-turbo knows no name for the
 * subsampling, it may skip rows for ever; and of a progressive one it smooths blocks by their neighbours. */
static int can_be_made(const struct picture *picture) {
    return picture->out && lies_in(&picture->window, picture->height, picture->width) &&
           lies_in(&picture->wanted, picture->new_height, picture->new_width) &&
           look(picture->data, picture->size).height == picture->height;
}

/* The sizes of those that are ordinary, and have nothing that may say that they are turned. */
void headrace_look(struct picture *pictures, int64_t count) {
    for (struct picture *picture = pictures; picture < pictures + count; picture++) {
        const struct glance seen = look(picture->data, picture->size);
        picture->height = seen.has_exif ? 0 : seen.height;
        picture->width = seen.has_exif ? 0 : seen.width;
    }
}

/* Makes those that have somewhere to go to; `made` says which were, and the others are as good as untouched. */
void headrace_make_jpegs(const struct libjpeg *library, struct picture *pictures, int64_t count, int kernel,
                         int tall_down_first) {
    struct decoder *decoder = NULL;
    for (struct picture *picture = pictures; picture < pictures + count; picture++) {
        picture->made = 0;
        if (!can_be_made(picture) || (!decoder && !(decoder = borrow(library))))
            continue;
        picture->made = make(&decoder, picture, kernel, tall_down_first);
    }
    if (decoder)
        give_back(decoder);
}

/* Decodes one into `out`, its sides divided by the factor and rounded up; whether it could. */
int headrace_decode_jpeg(const struct libjpeg *library, const uint8_t *data, int64_t size, int64_t height, int64_t width,
                         int64_t factor, uint8_t *out) {
    const struct jpeg_file file = {data, size, height, width, factor, out};
    const struct window all = {0, 0, smaller(height, factor), smaller(width, factor)};
    const struct glance seen = look(data, size);
    struct decoder *decoder = seen.height == height && seen.width == width ? borrow(library) : NULL;
    if (!decoder)
        return 0;
    const int made = decode_fast(decoder, &file, &all);
    if (made)
        give_back(decoder);
    else
        discard(decoder);
    return made;
}
