/* Numbers for programs that try much: the same in every run. */

static uint64_t state = 88172645463325252u;

/* Marsaglia's xorshift. */
static uint64_t draw(uint64_t below) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state % below;
}
