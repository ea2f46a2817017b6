/* The units of a scan, read by several lanes.
 *
 * Nobody knows where the units in the middle of a scan begin. But whoever begins to read anywhere, as if a unit began
 * there, soon comes upon the beginning of one, since Huffman codes fall into step by themselves (Klein and Wiseman, The
 * Computer Journal 46, 2003): after 100 to 200 bytes, as a rule. So a lane notes the beginnings of the first units that
 * it believes to read, and counts from the one on which the lane before it, of which this is certain, comes to stand. */

/* Bytes; the LAST of a scan are read symbol by symbol. */
enum { LAST = 16, HEAD = 1 << 10, MARGIN = 1 << 11, SHORTEST = 1 << 12 };
enum { MOST_KEPT = BUFFER / LANES * 2, KEPT_ALONE = 1 << 10, MOST_BEGINNINGS = 8 * HEAD };
_Static_assert(MOST_BLOCKS * COEFFICIENTS * (LONGEST_CODE + 15) < 8 * (MARGIN - BEHIND), "a unit fits into the margin");

/* Where a unit may begin: the bit, and what had been kept before it. */
struct beginning {
    uint64_t at;
    uint32_t *kept;
};

struct units {
    struct scan scan;
    uint64_t at; /* the next unit's first bit in the buffer */
    struct place places[2 * MOST_BLOCKS];
    struct lane lanes[LANES];
    int beginnings[LANES];
    struct beginning beginning[LANES][MOST_BEGINNINGS];
    uint32_t kept[LANES][MOST_KEPT + KEPT_ALONE];
};

/* What is done with the symbols of whole units; 0 if something is wrong with them. */
typedef int take_units(void *taker, const uint32_t *symbols, const uint32_t *end);

static int at_beginning(const struct units *units, const struct lane *lane) {
    return lane->place == units->places && !lane->passed;
}

static void begin_lane(struct units *units, int i, uint64_t at, uint64_t until) {
    units->lanes[i] = (struct lane){
        .at = at, .until = until, .place = units->places, .kept = units->kept[i], .kept_most = units->kept[i] + MOST_KEPT};
}

/* Notes which units seem to begin in the first bytes of a lane. What cannot be is tried again a bit further. */
static void read_head(struct units *units, int i) {
    struct lane *lane = &units->lanes[i];
    const uint64_t end = lane->at + 8 * HEAD, until = lane->until;
    units->beginnings[i] = 0;
    while (lane->at < end && units->beginnings[i] < MOST_BEGINNINGS) {
        if (at_beginning(units, lane))
            units->beginning[i][units->beginnings[i]++] = (struct beginning){lane->at, lane->kept};
        step_alone(units->scan.bytes, lane);
        if (lane->failed) {
            begin_lane(units, i, lane->at + 1, until);
            units->beginnings[i] = 0;
        }
    }
}

/* Reads a unit to its end. */
static int finish_unit(struct units *units, struct lane *lane) {
    do {
        step_alone(units->scan.bytes, lane);
        if (lane->failed || lane->at > 8 * (uint64_t)units->scan.held)
            return 0;
    } while (!at_beginning(units, lane));
    return 1;
}

enum { WRONG, MET, NOT_MET };

/* Reads on until a unit begins where the next lane believed that one does, which then keeps what it read from there on. */
static int meet(struct units *units, struct lane *lane, int next, uint32_t **kept) {
    const struct beginning *beginning = units->beginning[next], *end = beginning + units->beginnings[next];
    if (lane->failed)
        return WRONG;
    while (lane->kept < lane->kept_most) {
        if (at_beginning(units, lane)) {
            while (beginning < end && beginning->at < lane->at)
                beginning++;
            if (beginning == end)
                return NOT_MET;
            *kept = beginning->kept;
            if (beginning->at == lane->at)
                return MET;
        }
        if (!finish_unit(units, lane))
            return WRONG;
    }
    return at_beginning(units, lane) || finish_unit(units, lane) ? NOT_MET : WRONG;
}

/* Hands over the units that the lanes have read, as far as one led to the next. */
static int hand_over(struct units *units, int count, take_units *take, void *taker) {
    uint32_t *kept = units->kept[0], *next = NULL;
    for (int i = 0, met = MET; i < count && met == MET; i++, kept = next) {
        struct lane *lane = &units->lanes[i];
        if (i + 1 < count)
            met = meet(units, lane, i + 1, &next);
        else if (!finish_unit(units, lane))
            met = WRONG;
        if (met == WRONG || !take(taker, kept, lane->kept))
            return 0;
        units->at = lane->at;
    }
    return 1;
}

/* Reads at least one unit, and hands over all that it has read. */
static int read_some_units(struct units *units, take_units *take, void *taker) {
    struct scan *scan = &units->scan;
    if (!scan->whole) {
        take_more_bytes(scan, (int64_t)(units->at / 8));
        units->at %= 8;
    }
    const int64_t at = (int64_t)units->at, bits = 8 * (scan->held - (scan->whole ? LAST : MARGIN)) - at;
    const int count = bits < 2 * 8 * SHORTEST ? 1 : bits < LANES * 8 * SHORTEST ? 2 : LANES;
    for (int i = 0; i < count; i++) {
        begin_lane(units, i, (uint64_t)(at + bits * i / count), (uint64_t)(bits < 0 ? 0 : at + bits * (i + 1) / count));
        if (i)
            read_head(units, i);
    }
    read_lanes(scan->bytes, units->lanes, count);
    return hand_over(units, count, take, taker);
}
