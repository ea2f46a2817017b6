/* Decoders of libjpeg-turbo, kept from one run of pictures to the next.
 *
 * To create one costs tens of microseconds where the processor is a virtual one: libjpeg-turbo asks it each time what it
 * can do. */

#include <pthread.h>
#include <stdlib.h>

enum { MOST_PICTURES = 128 };

struct decoder {
    struct decoder *next;
    const struct libjpeg *library;
    struct jpeg jpeg;
    struct jpeg_errors errors;
    jmp_buf failed;
    int warnings, pictures;
    uint8_t *memory, *pixels; /* `pixels` are those of the window, from the column `left` of the picture on */
    size_t room;
    int64_t left, stride;
    struct reader reader;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct decoder *unused;

static void fail(struct jpeg *jpeg) {
    longjmp(((struct decoder *)jpeg->client_data)->failed, 1);
}

static void warn(struct jpeg *jpeg, int level) {
    ((struct decoder *)jpeg->client_data)->warnings += level < 0;
}

static void say_nothing(struct jpeg *jpeg) {
    (void)jpeg;
}

static void discard(struct decoder *decoder) {
    decoder->library->destroy(&decoder->jpeg);
    free(decoder->memory);
    free(decoder);
}

static int begin(struct decoder *decoder) {
    decoder->jpeg.errors = decoder->library->std_error(&decoder->errors);
    decoder->errors.fail = fail;
    decoder->errors.warn = warn;
    decoder->errors.show = say_nothing;
    decoder->jpeg.client_data = decoder;
    if (setjmp(decoder->failed))
        return 0;
    decoder->library->create(&decoder->jpeg, JPEG_VERSION, sizeof decoder->jpeg);
    return 1;
}

/* NULL without memory, or where the library is not of this version. */
static struct decoder *create(const struct libjpeg *library) {
    struct decoder *decoder = calloc(1, sizeof *decoder);
    if (!decoder)
        return NULL;
    decoder->library = library;
    if (begin(decoder))
        return decoder;
    discard(decoder);
    return NULL;
}

static struct decoder *borrow(const struct libjpeg *library) {
    pthread_mutex_lock(&lock);
    struct decoder *decoder = unused;
    if (decoder)
        unused = decoder->next;
    pthread_mutex_unlock(&lock);
    if (!decoder)
        return create(library);
    decoder->library = library; /* whoever had it before may have gone, and the table of functions with it */
    return decoder;
}

static void give_back(struct decoder *decoder) {
    if (decoder->pictures >= MOST_PICTURES) {
        discard(decoder);
        return;
    }
    free(decoder->memory);
    decoder->memory = NULL;
    decoder->room = 0;
    pthread_mutex_lock(&lock);
    decoder->next = unused;
    unused = decoder;
    pthread_mutex_unlock(&lock);
}

static int make_room(struct decoder *decoder, size_t room) {
    if (room <= decoder->room)
        return 1;
    free(decoder->memory);
    decoder->memory = malloc(room);
    decoder->room = decoder->memory ? room : 0;
    return decoder->memory != NULL;
}

/* A file without a table of its own must not be decoded with the one of the file before. What they take is the
 * decoder's until it ends, which is why it does so after MOST_PICTURES. */
static void forget_tables(struct jpeg *jpeg) {
    memset(jpeg->quantization, 0, sizeof jpeg->quantization);
    memset(jpeg->huffman, 0, sizeof jpeg->huffman);
}
