/* The inner loops, for any processor and for those with wide vectors. */

/* `across` makes rows narrower or wider, as many at once as there are `lanes`, of pixels of 3 or 4 bytes. It reads up
 * to (2 * pairs + 2) * 4 + SLACK bytes behind a row and writes up to SLACK. `down` makes one row of 2 * pairs rows,
 * behind which it reads up to SLACK bytes. `halved` says that both want their weights so. */
enum { MOST_LANES = 4, SLACK = 64 };
struct kernel {
    int lanes, halved;
    void (*across)(const uint8_t *const *in, uint8_t *const *out, const struct axis *axis, int channels);
    void (*down)(const uint8_t *const *in, uint8_t *out, int64_t bytes, const int32_t *weights, int pairs);
};

static uint8_t clipped(uint32_t sum) {
    const int32_t level = (int32_t)sum >> WEIGHT_BITS;
    return (uint8_t)(level < 0 ? 0 : level > 255 ? 255 : level);
}

static void across_portable(const uint8_t *const *in, uint8_t *const *out, const struct axis *axis, int channels) {
    const int32_t *weights = axis->weights;
    for (int64_t x = 0; x < axis->size; x++, weights += 2 * axis->pairs) {
        const uint8_t *pixels = in[0] + axis->first[x] * channels;
        uint32_t sums[4] = {ONE_HALF, ONE_HALF, ONE_HALF, ONE_HALF};
        for (int i = 0; i < 2 * axis->pairs; i++, pixels += channels)
            for (int c = 0; c < 4; c++)
                sums[c] += (uint32_t)(weights[i] * pixels[c]);
        for (int c = 0; c < 4; c++)
            out[0][x * channels + c] = clipped(sums[c]);
    }
}

static void down_portable(const uint8_t *const *in, uint8_t *out, int64_t bytes, const int32_t *weights, int pairs) {
    for (int64_t x = 0; x < bytes; x += SLACK) {
        uint32_t sums[SLACK];
        for (int i = 0; i < SLACK; i++)
            sums[i] = ONE_HALF;
        for (int row = 0; row < 2 * pairs; row++)
            for (int i = 0; i < SLACK; i++)
                sums[i] += (uint32_t)(weights[row] * in[row][x + i]);
        for (int i = 0; i < SLACK && x + i < bytes; i++)
            out[x + i] = clipped(sums[i]);
    }
}

#if defined(__x86_64__)
#include <immintrin.h>

/* For pixels of three bytes and of four: how to take from 16 bytes the 1st and 2nd, the 3rd and 4th, and the 5th pixel,
 * as 16 bits for each channel, neighbours side by side; and how to close the gap where there is no fourth channel. */
enum { NO = 0x80 };
static const uint8_t SHUFFLES[2][4][16] = {
    {{0, NO, 3, NO, 1, NO, 4, NO, 2, NO, 5, NO, NO, NO, NO, NO},
     {6, NO, 9, NO, 7, NO, 10, NO, 8, NO, 11, NO, NO, NO, NO, NO},
     {12, NO, NO, NO, 13, NO, NO, NO, 14, NO, NO, NO, NO, NO, NO, NO},
     {0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, NO, NO, NO, NO}},
    {{0, NO, 4, NO, 1, NO, 5, NO, 2, NO, 6, NO, 3, NO, 7, NO},
     {8, NO, 12, NO, 9, NO, 13, NO, 10, NO, 14, NO, 11, NO, 15, NO},
     {0},
     {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}},
};

#define LANES 2
#define VECTOR __m256i
#define TARGET __attribute__((target("avx2")))
#define NAME(name) name##_avx2
#define OP(name) _mm256_##name
#define BROADCAST _mm256_broadcastsi128_si256
#define ZERO _mm256_setzero_si256()
#define DOT(sum, pixels, weights) _mm256_add_epi32(sum, _mm256_madd_epi16(pixels, weights))
#include "passes.h"

#define LANES 4
#define VECTOR __m512i
#define TARGET __attribute__((target("avx512bw,avx512vnni")))
#define NAME(name) name##_avx512
#define OP(name) _mm512_##name
#define BROADCAST _mm512_broadcast_i32x4
#define ZERO _mm512_setzero_si512()
#define DOT(sum, pixels, weights) _mm512_dpwssd_epi32(sum, pixels, weights)
#include "passes.h"
#endif

static const struct kernel KERNELS[] = {
    {1, 0, across_portable, down_portable},
#if defined(__x86_64__)
    {2, 1, across_avx2, down_avx2},
    {4, 1, across_avx512, down_avx512},
#endif
};

/* The number of the last one that this processor runs; it runs those before it, too. */
static int best_kernel(void) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2"))
        return __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vnni") ? 2 : 1;
#endif
    return 0;
}
