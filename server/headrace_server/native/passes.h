/* The two passes for x86, in vectors of LANES times 16 bytes. Included once for each width, with LANES, VECTOR, TARGET,
 * NAME (of a function), OP (of an intrinsic), BROADCAST, ZERO and DOT defined.
 *
 * The cheapest multiply-add there is takes 16 bits, and a weight has 22: so weights come as halves, high * 2^11 + low,
 * two neighbours side by side. Both sums are exact, and so is what they make together. */

#define INLINE TARGET static inline __attribute__((always_inline))
#define DOT_BOTH(pixels, halves)                         \
    high = DOT(high, pixels, OP(set1_epi32)((halves)[0])); \
    low = DOT(low, pixels, OP(set1_epi32)((halves)[1]))

INLINE VECTOR NAME(rounded)(VECTOR high, VECTOR low) {
    return OP(srai_epi32)(OP(add_epi32)(OP(slli_epi32)(high, HALF_BITS), low), WEIGHT_BITS);
}

/* The 16 bytes at `at` of each row. */
INLINE VECTOR NAME(gathered)(const uint8_t *const *rows, int64_t at) {
#define ROW(i) _mm_loadu_si128((const __m128i *)(rows[i] + at))
#if LANES == 2
    return _mm256_inserti128_si256(_mm256_castsi128_si256(ROW(0)), ROW(1), 1);
#else
    const VECTOR half = _mm512_inserti32x4(_mm512_castsi128_si512(ROW(0)), ROW(1), 1);
    return _mm512_inserti32x4(_mm512_inserti32x4(half, ROW(2), 2), ROW(3), 3);
#endif
#undef ROW
}

INLINE void NAME(scattered)(VECTOR bytes, uint8_t *const *rows, int64_t at) {
#define PUT(i, lane) _mm_storeu_si128((__m128i *)(rows[i] + at), lane)
#if LANES == 2
    PUT(0, _mm256_castsi256_si128(bytes));
    PUT(1, _mm256_extracti128_si256(bytes, 1));
#else
    PUT(0, _mm512_castsi512_si128(bytes));
    PUT(1, _mm512_extracti32x4_epi32(bytes, 1));
    PUT(2, _mm512_extracti32x4_epi32(bytes, 2));
    PUT(3, _mm512_extracti32x4_epi32(bytes, 3));
#endif
#undef PUT
}

/* One pixel of the result in each lane, its channels in 32 bits each. */
INLINE VECTOR NAME(pixel)(const uint8_t *const *rows, int64_t at, const int32_t *halves, int channels, int pairs, int fifth,
                          const VECTOR *shuffles) {
    VECTOR high = ZERO, low = OP(set1_epi32)(ONE_HALF), pixels = ZERO;
    for (; pairs >= 2; pairs -= 2, halves += 4, at += 4 * channels) {
        pixels = NAME(gathered)(rows, at);
        DOT_BOTH(OP(shuffle_epi8)(pixels, shuffles[0]), halves);
        DOT_BOTH(OP(shuffle_epi8)(pixels, shuffles[1]), halves + 2);
    }
    if (pairs) {
        pixels = fifth ? OP(shuffle_epi8)(pixels, shuffles[2]) : OP(shuffle_epi8)(NAME(gathered)(rows, at), shuffles[0]);
        DOT_BOTH(pixels, halves);
    }
    return NAME(rounded)(high, low);
}

INLINE void NAME(across_of)(const uint8_t *const *in, uint8_t *const *out, const struct axis *axis, int channels, int pairs,
                            int fifth) {
    VECTOR shuffles[4];
    for (int i = 0; i < 4; i++)
        shuffles[i] = BROADCAST(_mm_loadu_si128((const __m128i *)SHUFFLES[channels == 4][i]));
    const uint8_t *rows[LANES];
    memcpy(rows, in, sizeof rows);
    const int32_t *halves = axis->weights;
    const int64_t *first = axis->first;
    for (int64_t x = 0; x < axis->size; x += GROUP, first += GROUP, halves += 2 * GROUP * pairs) {
#define PIXEL(i) NAME(pixel)(rows, first[i] * channels, halves + 2 * i * pairs, channels, pairs, fifth, shuffles)
        const VECTOR left = OP(packs_epi32)(PIXEL(0), PIXEL(1)), right = OP(packs_epi32)(PIXEL(2), PIXEL(3));
#undef PIXEL
        NAME(scattered)(OP(shuffle_epi8)(OP(packus_epi16)(left, right), shuffles[3]), out, x * channels);
    }
}

/* Rows in step, one to a lane. The usual numbers of weights are spelled out, for the compiler to unroll. */
TARGET static void NAME(across)(const uint8_t *const *in, uint8_t *const *out, const struct axis *axis, int channels) {
    const int pairs = axis->pairs;
    if (channels == 3 && axis->taps == 5)
        NAME(across_of)(in, out, axis, 3, 3, 1);
    else if (channels == 3 && pairs == 1)
        NAME(across_of)(in, out, axis, 3, 1, 0);
    else if (channels == 3 && pairs == 2)
        NAME(across_of)(in, out, axis, 3, 2, 0);
    else if (channels == 3 && pairs == 4)
        NAME(across_of)(in, out, axis, 3, 4, 0);
    else if (channels == 3 && axis->taps == 9)
        NAME(across_of)(in, out, axis, 3, 5, 1);
    else
        NAME(across_of)(in, out, axis, channels, pairs, 0);
}

TARGET static void NAME(down)(const uint8_t *const *in, uint8_t *out, int64_t bytes, const int32_t *halves, int pairs) {
    for (int64_t x = 0; x < bytes; x += sizeof(VECTOR)) {
        VECTOR sums[4];
        VECTOR highs[4], lows[4];
        for (int i = 0; i < 4; i++)
            highs[i] = ZERO, lows[i] = OP(set1_epi32)(ONE_HALF);
        for (int pair = 0; pair < pairs; pair++) {
            VECTOR one, two;
            memcpy(&one, in[2 * pair] + x, sizeof one);
            memcpy(&two, in[2 * pair + 1] + x, sizeof two);
            const VECTOR left = OP(unpacklo_epi8)(one, two), right = OP(unpackhi_epi8)(one, two);
            const VECTOR pixels[4] = {
                OP(unpacklo_epi8)(left, ZERO), OP(unpackhi_epi8)(left, ZERO),
                OP(unpacklo_epi8)(right, ZERO), OP(unpackhi_epi8)(right, ZERO),
            };
            for (int i = 0; i < 4; i++) {
                highs[i] = DOT(highs[i], pixels[i], OP(set1_epi32)(halves[2 * pair]));
                lows[i] = DOT(lows[i], pixels[i], OP(set1_epi32)(halves[2 * pair + 1]));
            }
        }
        for (int i = 0; i < 4; i++)
            sums[i] = NAME(rounded)(highs[i], lows[i]);
        const VECTOR result = OP(packus_epi16)(OP(packs_epi32)(sums[0], sums[1]), OP(packs_epi32)(sums[2], sums[3]));
        memcpy(out + x, &result, bytes - x < (int64_t)sizeof result ? (size_t)(bytes - x) : sizeof result);
    }
}
