/* What is used of libjpeg-turbo's interface, version 6.2, as it is laid out where pointers have 64 bits. The library
 * itself is found when headrace runs: it is the one that Pillow decodes with. It compares the version and the size that
 * `create` is given with its own, and refuses what does not agree. */

#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>

enum { JPEG_VERSION = 62, JPEG_RGB = 2, JPEG_HEADER_READ = 1, JPEG_TABLES = 4 };

struct jpeg;

/* What reads the codes: not a part of the interface, but the same in all sources of it that were looked at. */
struct jpeg_codes {
    void (*start)(struct jpeg *);
    int (*read_unit)(struct jpeg *, int16_t (**blocks)[64]); /* into blocks of zeros, if there are any */
};

struct jpeg_errors {
    void (*fail)(struct jpeg *);
    void (*warn)(struct jpeg *, int level); /* below 0 for what costs pixels */
    void (*show)(struct jpeg *);
    void (*format)(struct jpeg *, char *);
    void (*reset)(struct jpeg *);
    char message[128];
};

struct jpeg {
    struct jpeg_errors *errors;
    void *memory, *progress, *client_data;
    int is_decoder, state;
    void *source;
    uint32_t width, height;
    int components, colours, out_colours;
    uint32_t scale, scale_divisor;
    double gamma;
    int options[12];
    uint32_t out_width, out_height;
    int out_components[3];
    int palette_size;
    void *palette;
    uint32_t next_row;
    int scan, unit_row, out_scan, out_unit_row;
    void *progression;
    void *quantization[JPEG_TABLES], *huffman[2 * JPEG_TABLES];
    char rest[296];
    struct jpeg_codes *codes; /* once it is started */
    void *stages[4];
};

_Static_assert(sizeof(void *) != 8 || offsetof(struct jpeg, out_width) == 136, "as in jpeglib.h");
_Static_assert(sizeof(void *) != 8 || offsetof(struct jpeg, next_row) == 168, "as in jpeglib.h");
_Static_assert(sizeof(void *) != 8 || offsetof(struct jpeg, quantization) == 200, "as in jpeglib.h");
_Static_assert(sizeof(void *) != 8 || offsetof(struct jpeg, codes) == 592, "as in jpeglib.h");
_Static_assert(sizeof(void *) != 8 || sizeof(struct jpeg) == 632, "as in jpeglib.h");

/* Its functions, in the order in which native/jpegs.py names them. */
struct libjpeg {
    struct jpeg_errors *(*std_error)(struct jpeg_errors *);
    void (*create)(struct jpeg *, int version, size_t size);
    void (*destroy)(struct jpeg *);
    void (*source)(struct jpeg *, const uint8_t *data, unsigned long size);
    int (*read_header)(struct jpeg *, int need_image);
    int (*start)(struct jpeg *);
    void (*crop)(struct jpeg *, uint32_t *left, uint32_t *width);
    uint32_t (*skip_rows)(struct jpeg *, uint32_t count);
    uint32_t (*read_rows)(struct jpeg *, uint8_t **rows, uint32_t count);
    int (*finish)(struct jpeg *);
    void (*leave)(struct jpeg *); /* NULL where `jpeg_codes` may be something else */
};
