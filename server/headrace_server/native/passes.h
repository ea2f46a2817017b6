/* The two passes for x86, in vectors of LANES times 16 bytes. Included once for each width, with LANES, VECTOR, TARGET,
 * NAME (of a function), OP (of an intrinsic), BROADCAST, ZERO and DOT defined.
 *
 * The cheapest multiply-add there is takes 16 bits, and a weight has 22: so weights come as halves, high * 2^11 + low,
 * two neighbours side by side. Both sums are exact, and so is what they make together. */

#define DOT_BOTH(pixels, halves)                         \
    high = DOT(high, pixels, OP(set1_epi32)((halves)[0])); \
    low = DOT(low, pixels, OP(set1_epi32)((halves)[1]))

TARGET static inline VECTOR NAME(rounded)(VECTOR high, VECTOR low) {
    return OP(srai_epi32)(OP(add_epi32)(OP(slli_epi32)(high, HALF_BITS), low), WEIGHT_BITS);
}

/* The 16 bytes at `at` of each row. */
TARGET static inline VECTOR NAME(gathered)(const uint8_t *const *rows, int64_t at) {
#define ROW(i) _mm_loadu_si128((const __m128i *)(rows[i] + at))
#if LANES == 2
    return _mm256_inserti128_si256(_mm256_castsi128_si256(ROW(0)), ROW(1), 1);
#else
    const VECTOR half = _mm512_inserti32x4(_mm512_castsi128_si512(ROW(0)), ROW(1), 1);
    return _mm512_inserti32x4(_mm512_inserti32x4(half, ROW(2), 2), ROW(3), 3);
#endif
#undef ROW
}

TARGET static inline void NAME(scattered)(VECTOR bytes, uint8_t *const *rows, int64_t at) {
    uint8_t lanes[LANES][16];
    memcpy(lanes, &bytes, sizeof bytes);
    for (int lane = 0; lane < LANES; lane++)
        memcpy(rows[lane] + at, lanes[lane], 16);
}

/* LANES rows in step: each 32 bits of a lane sum up one channel of one pixel. */
TARGET static void NAME(across)(const uint8_t *const *in, uint8_t *const *out, const struct axis *axis, int channels) {
    const uint8_t(*const masks)[16] = SHUFFLES[channels == 4];
    const VECTOR pair0 = BROADCAST(_mm_loadu_si128((const __m128i *)masks[0]));
    const VECTOR pair1 = BROADCAST(_mm_loadu_si128((const __m128i *)masks[1]));
    const VECTOR pair2 = BROADCAST(_mm_loadu_si128((const __m128i *)masks[2]));
    const VECTOR packed = BROADCAST(_mm_loadu_si128((const __m128i *)masks[3]));
    /* Five pixels of three bytes fit in one load, and five weights are what halving a picture takes. */
    const int fifth = channels == 3 && axis->taps % 4 == 1 && axis->taps > 4;
    const int32_t *halves = axis->weights;
    for (int64_t x = 0; x < axis->size; x += GROUP) {
        VECTOR sums[GROUP];
        for (int i = 0; i < GROUP; i++) {
            int64_t at = axis->first[x + i] * channels;
            VECTOR high = ZERO, low = OP(set1_epi32)(ONE_HALF), pixels = ZERO;
            int pairs = axis->pairs;
            for (; pairs >= 2; pairs -= 2, halves += 4, at += 4 * channels) {
                pixels = NAME(gathered)(in, at);
                DOT_BOTH(OP(shuffle_epi8)(pixels, pair0), halves);
                DOT_BOTH(OP(shuffle_epi8)(pixels, pair1), halves + 2);
            }
            if (pairs) {
                pixels = fifth ? OP(shuffle_epi8)(pixels, pair2) : OP(shuffle_epi8)(NAME(gathered)(in, at), pair0);
                DOT_BOTH(pixels, halves);
                halves += 2;
            }
            sums[i] = NAME(rounded)(high, low);
        }
        const VECTOR left = OP(packs_epi32)(sums[0], sums[1]), right = OP(packs_epi32)(sums[2], sums[3]);
        NAME(scattered)(OP(shuffle_epi8)(OP(packus_epi16)(left, right), packed), out, x * channels);
    }
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
