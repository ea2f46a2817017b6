/* The inner loops for x86, in vectors of LANES times 16 bytes. Included once for each width, with LANES, VECTOR,
 * TARGET, NAME (of a function here), OP (of an intrinsic), BROADCAST, ZERO and DOT defined; undefines them.
 *
 * The cheapest multiply-add there is takes 16 bits, and a weight has 22: so it comes as two halves, high * 2^11 + low,
 * and with the half of its neighbour beside each. Both sums are exact, and so is what they make together. */

#define INLINE TARGET static inline __attribute__((always_inline))
#define DOT_BOTH(high, low, pixels, halves)                    \
    do {                                                       \
        high = DOT(high, pixels, OP(set1_epi32)((halves)[0])); \
        low = DOT(low, pixels, OP(set1_epi32)((halves)[1]));   \
    } while (0)

INLINE VECTOR NAME(rounded)(VECTOR high, VECTOR low) {
    return OP(srai_epi32)(OP(add_epi32)(OP(slli_epi32)(high, HALF_BITS), low), WEIGHT_BITS);
}

/* 16 bytes of each row. */
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

/* One new pixel of each row, 32 bits to a channel. Where `fifth` says so, the last weight belongs to the fifth pixel of
 * the last load: 16 bytes hold five pixels of three. */
INLINE VECTOR NAME(pixel)(const uint8_t *const *rows, int64_t at, const int32_t *halves, int channels, int pairs,
                          int fifth, const VECTOR *shuffles) {
    VECTOR high = ZERO, low = OP(set1_epi32)(ONE_HALF), pixels = ZERO;
    for (; pairs >= 2; pairs -= 2, halves += 4, at += 4 * channels) {
        pixels = NAME(gathered)(rows, at);
        DOT_BOTH(high, low, OP(shuffle_epi8)(pixels, shuffles[0]), halves);
        DOT_BOTH(high, low, OP(shuffle_epi8)(pixels, shuffles[1]), halves + 2);
    }
    if (pairs && fifth)
        DOT_BOTH(high, low, OP(shuffle_epi8)(pixels, shuffles[2]), halves);
    else if (pairs)
        DOT_BOTH(high, low, OP(shuffle_epi8)(NAME(gathered)(rows, at), shuffles[0]), halves);
    return NAME(rounded)(high, low);
}

INLINE void NAME(pixels)(const uint8_t *const *in, uint8_t *const *out, const struct axis *axis, int channels,
                         int pairs, int fifth) {
    VECTOR shuffles[4];
    for (int i = 0; i < 4; i++)
        shuffles[i] = BROADCAST(_mm_loadu_si128((const __m128i *)SHUFFLES[channels == 4][i]));
    const uint8_t *rows[LANES];
    memcpy(rows, in, sizeof rows);
    const int64_t *first = axis->first;
    const int32_t *halves = axis->weights;
    for (int64_t x = 0; x < axis->size; x += GROUP, first += GROUP, halves += 2 * GROUP * pairs) {
#define PIXEL(i) NAME(pixel)(rows, first[i] * channels, halves + 2 * i * pairs, channels, pairs, fifth, shuffles)
        const VECTOR left = OP(packs_epi32)(PIXEL(0), PIXEL(1)), right = OP(packs_epi32)(PIXEL(2), PIXEL(3));
#undef PIXEL
        NAME(scattered)(OP(shuffle_epi8)(OP(packus_epi16)(left, right), shuffles[3]), out, x * channels);
    }
}

/* The usual numbers of weights stand here as constants, so that their loops are unrolled, which is a third of the time:
 * bilinear, making larger takes 2 weights, down to a half 3 or 4, a little further 5; bicubic, 4, 7 or 8, and 9. */
TARGET static void NAME(across)(const uint8_t *const *in, uint8_t *const *out, const struct axis *axis, int channels) {
    const int64_t taps = channels == 3 ? axis->taps : 0;
    if (taps == 2)
        NAME(pixels)(in, out, axis, 3, 1, 0);
    else if (taps == 3 || taps == 4)
        NAME(pixels)(in, out, axis, 3, 2, 0);
    else if (taps == 5)
        NAME(pixels)(in, out, axis, 3, 3, 1);
    else if (taps == 7 || taps == 8)
        NAME(pixels)(in, out, axis, 3, 4, 0);
    else if (taps == 9)
        NAME(pixels)(in, out, axis, 3, 5, 1);
    else
        NAME(pixels)(in, out, axis, channels == 3 ? 3 : 4, axis->pairs, 0);
}

TARGET static void NAME(down)(const uint8_t *const *in, uint8_t *out, int64_t bytes, const int32_t *halves, int pairs) {
    const VECTOR zero = ZERO, half = OP(set1_epi32)(ONE_HALF);
    for (int64_t x = 0; x < bytes; x += (int64_t)sizeof(VECTOR)) {
        VECTOR high[4] = {zero, zero, zero, zero}, low[4] = {half, half, half, half};
        for (int pair = 0; pair < pairs; pair++) {
            VECTOR one, two;
            memcpy(&one, in[2 * pair] + x, sizeof one);
            memcpy(&two, in[2 * pair + 1] + x, sizeof two);
            const VECTOR left = OP(unpacklo_epi8)(one, two), right = OP(unpackhi_epi8)(one, two);
            DOT_BOTH(high[0], low[0], OP(unpacklo_epi8)(left, zero), halves + 2 * pair);
            DOT_BOTH(high[1], low[1], OP(unpackhi_epi8)(left, zero), halves + 2 * pair);
            DOT_BOTH(high[2], low[2], OP(unpacklo_epi8)(right, zero), halves + 2 * pair);
            DOT_BOTH(high[3], low[3], OP(unpackhi_epi8)(right, zero), halves + 2 * pair);
        }
        VECTOR sums[4];
        for (int i = 0; i < 4; i++)
            sums[i] = NAME(rounded)(high[i], low[i]);
        const VECTOR result = OP(packus_epi16)(OP(packs_epi32)(sums[0], sums[1]), OP(packs_epi32)(sums[2], sums[3]));
        if (bytes - x >= (int64_t)sizeof result)
            memcpy(out + x, &result, sizeof result);
        else
            memcpy(out + x, &result, (size_t)(bytes - x));
    }
}

#undef LANES
#undef VECTOR
#undef TARGET
#undef NAME
#undef OP
#undef BROADCAST
#undef ZERO
#undef DOT
#undef INLINE
#undef DOT_BOTH
