/* The size of an ordinary JPEG, from what comes before its scan; see `jpeg_header` in orientation.py, whose answer this is
 * wherever it gives one and there is no Exif. */

/* What is to be seen of a JPEG at a glance. */
struct glance {
    int64_t height, width; /* 0 for what is not ordinary: any but one scan of 8 bits and of 1 or 3 components */
    int has_exif;          /* or something of its kind, which may say which way up the picture is */
    struct profile profile;
};

/* Those that say nothing of the picture's size. */
static int is_indifferent(int marker) {
    return marker == CODES || marker == QUANTIZATION || marker == INTERVAL || marker == COMMENT ||
           (marker >= APPLICATION && marker < APPLICATION + 16);
}

/* 4:4:4, 4:2:2, 4:2:0, 4:4:0 or 4:1:1, or a single component. The factors are in every third byte. */
static int is_usual_subsampling(const uint8_t *factors, int components) {
    const int first = factors[0];
    if (components == 1)
        return first == 0x11;
    return (first == 0x11 || first == 0x21 || first == 0x22 || first == 0x12 || first == 0x41) && factors[3] == 0x11 &&
           factors[6] == 0x11;
}

/* Notes the size in a frame's header, of `length` bytes; how many components it has, 0 where it is not ordinary. */
static int read_size(struct glance *seen, const uint8_t *at, int length) {
    if (length < 6 || at[0] != 8)
        return 0;
    const int components = at[5];
    seen->height = two_bytes(at + 1);
    seen->width = two_bytes(at + 3);
    if ((components != 1 && components != 3) || length != 6 + 3 * components || !seen->height || !seen->width)
        return 0;
    return is_usual_subsampling(at + 7, components) ? components : 0;
}

static struct glance look(const uint8_t *data, int64_t bytes) {
    const struct glance nothing = {0};
    struct glance seen = nothing;
    int components = 0;
    if (bytes < 4 || data[0] != 0xff || data[1] != 0xd8)
        return nothing;
    for (int64_t at = 2; bytes - at >= 5 && data[at] == 0xff;) {
        const int marker = data[at + 1], length = two_bytes(data + at + 2) - 2;
        if (marker == SCAN)
            return components && data[at + 4] == components && is_complete(&seen.profile) ? seen : nothing;
        if (length < 0 || bytes - at < 4 + length)
            return nothing;
        const uint8_t *content = data + at + 4;
        if (marker == BASELINE || marker == EXTENDED) {
            if (components || !(components = read_size(&seen, content, length)))
                return nothing;
        } else if (!is_indifferent(marker) || (marker == PROFILE && !read_profile(&seen.profile, content, length))) {
            return nothing;
        }
        seen.has_exif |= marker == EXIF;
        at += 4 + length;
    }
    return nothing;
}
