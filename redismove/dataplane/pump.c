/*
 * The inner loop of copying: RESP bytes in, RESP bytes out. It opens nothing, waits for nothing and prints nothing:
 * sockets, TLS, limits, errors and everything rare are Python's (pump.py). What is not the common case (a reply that is
 * an error, a value too big, an expiry measured while the server paused) is put on a list that Python works through with
 * the same code that it would use without this file.
 *
 * Side 0 is where keys are scanned (SCAN) and read (expiry, DUMP), on two connections: behind thousands of DUMPs a SCAN
 * would come too late to keep the source busy. Side 1 (RESTORE REPLACE ABSTTL) has one or more connections, chosen by the
 * key's slot.
 *
 * Tested equal to the Python path (tests/redis/test_copy.py). Plain C11, no dependencies.
 */
#include "resp.h"

enum { E_SCAN = 1, E_TIME_BEFORE, E_TIME_AFTER, E_TTL, E_DUMP, E_RESTORE };
enum { WHY_GONE = 1, WHY_ERROR, WHY_BIG, WHY_EXPIRY, WHY_DIVERTED }; /* why a key is on the list */
#define NO_EXPIRY (-1)
#define NO_KEY (-2)
#define GROUP 256
#define SLACK_MS 2
#define NEAR_BYTES (4 << 20) /* what keeps side 0 busy where the line is short, and its answers coming */
#define NEAR_KEYS 4000
#define TARGET_BYTES (16 << 20)
#define TARGET_KEYS 20000
#define LONG_LINE_US 5000
#define WINDOW_ABOVE 1.4 /* above rate x round trip, for what varies */
#define PACE_FIRST_UP 1.25
#define PACE_UP 1.08
#define PACE_MOST 1.25 /* of what was given in the last rounds */
#define QUEUE_US 10000
#define MARK_EVERY_US 50000
#define TURN_US 1000 /* under a limit: keys of so long at once; users wait for one turn, or one SCAN, at most */
#define BURST_US 8000
#define CALM_BYTES 65536
#define SCAN_AHEAD_KEYS 4000
#define SCAN_LASTS 1.7 /* round trips: SCAN itself and what is before it take their time too */
#define SCAN_LEAST_US 0.1
#define SCAN_GUESSED_US 0.7

typedef struct {
    buffer in, out;
    fifo expects;
    int scan_phase;
    int64_t scan_left;
    size_t skip;
    int64_t time_ms;
    int absolute;
} line;
typedef struct {
    uint8_t *keys;
    size_t used, capacity;
    int64_t remaining;
    char cursor[24];
    int complete;
} batch;
typedef struct {
    uint64_t batch_no;
    size_t key_at;
    uint32_t key_size;
    uint8_t done, flags, line_no;
    int64_t expires_ms;
} entry;
enum { F_LISTED = 1, F_SLACK = 2 };

typedef struct {
    int64_t scanned, issued, done, restored, payload_bytes;
    int64_t in_flight, queued, list_length, target_unsent, scan_finished, finished;
    double mean_bytes;
    int64_t failed; /* protocol violation */
    int64_t urgent;
    int64_t wait_us; /* rm_work has something to do after so long, whatever the sockets say; -1: it has not */
    int64_t calm; /* the limit leaves time: what came meanwhile may wait for the next turn, which costs all less CPU */
    char safe_cursor[24];
} stats;

/* How fast keys are asked for. Side 0 works through all the commands that it has before it answers much (Redis reads
 * 16 KiB of commands in a turn and writes 64 KiB of replies), so a window far above rate x round trip makes the two servers
 * work in turns instead of at the same time; over a long line a whole window at once does the same. There keys are asked
 * for at a pace: what side 0 gave in the last rounds when answers wait longer than a round trip, a little more when they
 * do not. A round lasts as long as its quickest answer takes; what was given in rounds that something else held back says
 * nothing. */
enum { MARKS = 6, PROBES = 64, ROUNDS = 5, SAMPLES = 6 };
typedef struct { /* what was answered until when */
    int64_t us[SAMPLES];
    uint64_t keys[SAMPLES];
    int count;
} samples;
typedef struct {
    int64_t now_us, round_trip_us, target_round_trip_us, scan_most_us;
    double keys_per_s; /* what side 0 gives, measured; guessed from the size of values before */
    double limit_keys_per_s; /* negative: none */
    double pace_keys_per_s; /* over a long line */
    int64_t quickest_us; /* answer of this round */
    samples rounds; /* at the ends of the last ones */
    int found, unused; /* side 0 was too slow for it once; it was not used up in this round */
    struct { uint64_t issued; int64_t sent_us; } probes[PROBES];
    unsigned probe_head, probe_tail;
    double tokens;
    int64_t tokens_us;
    samples marks;
    int held_back;
    int64_t scan_sent_us, scan_asked;
    double scan_us_per_key; /* how long a SCAN keeps side 0 from others */
} pace;

typedef struct {
    int line_count; /* of side 1 */
    line scan;
    line side0;
    line *side1;
    uint16_t *line_of_slot;
    int fan; /* connections per node on side 1 */
    entry *entries;
    uint64_t head, next, tail, mask;
    batch *batches;
    uint64_t batch_head, batch_tail, batch_mask;
    rare *list;
    size_t list_head, list_tail, list_capacity;
    char cursor[24];
    int scan_outstanding;
    int64_t scan_count, max_in_flight, max_bytes, max_target_in_flight, max_target_unsent, big_bytes;
    pace pace;
    int64_t skew_ms;
    int divert, mean_given;
    stats s;
} pump;

#include "loop.h"

/* ---- keys ---- */
static void settle_batches(pump *p) {
    while (p->batch_head < p->batch_tail) {
        batch *b = batch_at(p, p->batch_head);
        if (!b->complete || b->remaining) return;
        memcpy(p->s.safe_cursor, b->cursor, sizeof b->cursor);
        free(b->keys);
        b->keys = NULL;
        p->batch_head++;
    }
}
static void new_entry(pump *p, const uint8_t *key, size_t size) {
    uint8_t *room;
    entry *e = new_entry_of(p, size, &room);
    memcpy(room, key, size);
    e->key_size = (uint32_t)size;
    e->expires_ms = NO_EXPIRY;
}
static void pop_entries(pump *p) { while (p->head < p->next && entry_at(p, p->head)->done) p->head++; }
static void finish(pump *p, entry *e, int count_batch) {
    e->done = 1;
    p->s.done++;
    if (count_batch) batch_done(p, e->batch_no);
    pop_entries(p);
}
static void put_on_list(pump *p, entry *e, int why, const char *text, size_t text_size) {
    list_key(p, e, why, text, text_size);
    if (why == WHY_ERROR || why == WHY_DIVERTED) p->s.urgent = 1;
}

/* ---- asking ---- */
static line *line_for(pump *p, entry *e) {
    if (p->line_count == 1) { e->line_no = 0; return p->side1; }
    uint16_t slot = slot_of(key_of(p, e), e->key_size);
    e->line_no = (uint8_t)(p->line_of_slot[slot] * p->fan + (p->fan > 1 ? slot % (unsigned)p->fan : 0));
    return &p->side1[e->line_no];
}
static void put_keyed(line *l, const char *head, size_t head_size, const uint8_t *key, size_t size) {
    need(&l->out, head_size + size + 40);
    put(&l->out, head, head_size);
    put_bulk(&l->out, key, size);
}
static void ask_states(pump *p, uint64_t from, uint64_t to) {
    line *l = &p->side0;
    if (!l->absolute) put_time(l, E_TIME_BEFORE, from, (uint32_t)(to - from));
    for (uint64_t s = from; s < to; s++) {
        entry *e = entry_at(p, s);
        if (l->absolute) put_keyed(l, HEAD(PEXPIRETIME), key_of(p, e), e->key_size);
        else put_keyed(l, HEAD(PTTL), key_of(p, e), e->key_size);
        expect(l, E_TTL, s, 0);
    }
    if (!l->absolute) put_time(l, E_TIME_AFTER, from, (uint32_t)(to - from));
    for (uint64_t s = from; s < to; s++) {
        entry *e = entry_at(p, s);
        put_keyed(l, HEAD(DUMP), key_of(p, e), e->key_size);
        expect(l, E_DUMP, s, 0);
    }
}
static void ask_scan(pump *p, int64_t keys) {
    char text[200], count[24];
    size_t n = number_text(count, (uint64_t)keys);
    int size = snprintf(text, sizeof text, "*4\r\n$4\r\nSCAN\r\n$%zu\r\n%s\r\n$5\r\nCOUNT\r\n$%zu\r\n%.*s\r\n",
        strlen(p->cursor), p->cursor, n, (int)n, count);
    need(&p->scan.out, (size_t)size);
    put(&p->scan.out, text, (size_t)size);
    expect(&p->scan, E_SCAN, 0, 0);
    p->scan_outstanding = 1;
    p->pace.scan_sent_us = p->pace.now_us;
    p->pace.scan_asked = keys;
}
static void refresh(pump *p) {
    int64_t unsent = 0;
    for (int i = 0; i < p->line_count; i++) unsent += (int64_t)(p->side1[i].out.to - p->side1[i].out.from);
    p->s.target_unsent = unsent;
    p->s.queued = (int64_t)(p->tail - p->next);
    p->s.in_flight = (int64_t)(p->next - p->head);
    p->s.list_length = (int64_t)(p->list_tail - p->list_head);
    if (!p->s.list_length) p->s.urgent = 0;
    p->s.finished = p->s.scan_finished && p->head == p->tail && !p->s.list_length && p->batch_head == p->batch_tail;
}
/* Keys side 0 has answered, of both replies. */
static uint64_t answered_keys(const pump *p) { return p->side0.expects.head / 2; }
static int is_long(const pump *p) { return p->pace.round_trip_us > LONG_LINE_US; }
static double pace_keys_per_s(const pump *p) { /* negative: as the windows allow */
    double most = is_long(p) ? p->pace.pace_keys_per_s : -1;
    if (p->pace.limit_keys_per_s >= 0 && (most < 0 || p->pace.limit_keys_per_s < most)) most = p->pace.limit_keys_per_s;
    return most;
}
static void hold_back(pump *p) { /* something else than side 0 is what limits now */
    p->pace.held_back = MARKS;
    if (p->s.issued) p->pace.unused = 1;
}
/* Keep the last `most`. */
static void add_sample(samples *s, int most, int64_t us, uint64_t keys) {
    if (s->count == most) {
        s->count--;
        memmove(s->us, s->us + 1, (size_t)s->count * sizeof *s->us);
        memmove(s->keys, s->keys + 1, (size_t)s->count * sizeof *s->keys);
    }
    s->us[s->count] = us;
    s->keys[s->count++] = keys;
}
static double keys_per_s_since(const samples *s, int64_t us, uint64_t keys) {
    return (double)(keys - s->keys[0]) * 1e6 / (double)(us - s->us[0]);
}
static void set_pace(pump *p) {
    pace *c = &p->pace;
    for (; c->probe_head != c->probe_tail; c->probe_head++) {
        int64_t took_us = c->now_us - c->probes[c->probe_head % PROBES].sent_us;
        if (p->side0.expects.head < c->probes[c->probe_head % PROBES].issued) break;
        if (!c->quickest_us || took_us < c->quickest_us) c->quickest_us = took_us;
    }
    uint64_t answered = answered_keys(p);
    if (!c->rounds.count) {
        if (answered) add_sample(&c->rounds, ROUNDS, c->now_us, answered);
        return;
    }
    int64_t round_us = c->now_us - c->rounds.us[c->rounds.count - 1];
    if (!c->quickest_us || round_us < (c->quickest_us > MARK_EVERY_US ? c->quickest_us : MARK_EVERY_US)) return;
    double given_keys_per_s = keys_per_s_since(&c->rounds, c->now_us, answered);
    int64_t waited_us = c->quickest_us - c->round_trip_us;
    if (waited_us > c->round_trip_us / 8 + QUEUE_US) {
        c->found = 1;
        c->pace_keys_per_s = given_keys_per_s; /* it was busy all the time: that is what it can give */
    } else if (waited_us <= QUEUE_US / 2 && !c->unused && c->limit_keys_per_s < 0) {
        double more = c->pace_keys_per_s * (c->found ? PACE_UP : PACE_FIRST_UP);
        if (c->found && more > given_keys_per_s * PACE_MOST) more = given_keys_per_s * PACE_MOST;
        if (more > c->pace_keys_per_s) c->pace_keys_per_s = more;
    }
    c->quickest_us = 0;
    if (c->unused) c->rounds.count = 0; /* what it gave was not what it can give */
    add_sample(&c->rounds, ROUNDS, c->now_us, answered);
    c->unused = 0;
}
static void measure(pump *p) {
    pace *c = &p->pace;
    if (is_long(p)) set_pace(p);
    uint64_t keys = answered_keys(p);
    if (!keys) return;
    if (c->marks.count && c->now_us - c->marks.us[c->marks.count - 1] < MARK_EVERY_US) return;
    add_sample(&c->marks, MARKS, c->now_us, keys);
    if (c->marks.count < 4) return;
    double measured = keys_per_s_since(&c->marks, c->now_us, keys);
    /* Side 0 could do more than was measured when it was not asked for more. */
    if (measured > c->keys_per_s || !c->held_back) c->keys_per_s = (c->keys_per_s + measured) / 2;
    if (c->held_back) c->held_back--;
}
/* COUNT of the next SCAN. The next cursor takes a round trip: what it gives must last so long. */
static int64_t next_scan_count(const pump *p) {
    const pace *c = &p->pace;
    double rate = is_long(p) && c->pace_keys_per_s > c->keys_per_s ? c->pace_keys_per_s : c->keys_per_s;
    if (c->limit_keys_per_s >= 0 && c->limit_keys_per_s < rate) rate = c->limit_keys_per_s;
    double each = c->scan_us_per_key;
    double lasts = rate * (double)c->round_trip_us / 1e6 * SCAN_LASTS;
    double count = c->limit_keys_per_s >= 0 ? rate / 400 + 10 : (double)p->scan_count;
    if (lasts > count) count = lasts;
    if (count * each > (double)c->scan_most_us) count = (double)c->scan_most_us / each;
    return count < 10 ? 10 : (int64_t)count;
}
/* Keys that may be on their way to and from side 0. */
static int64_t window(const pump *p, int64_t mean) {
    int64_t near = NEAR_BYTES / mean < NEAR_KEYS ? NEAR_BYTES / mean : NEAR_KEYS;
    double rate = is_long(p) ? p->pace.pace_keys_per_s : p->pace.keys_per_s;
    int64_t line = (int64_t)(rate * (double)p->pace.round_trip_us / 1e6 * WINDOW_ABOVE);
    int64_t allowed = near + line, most = p->max_bytes / mean;
    if (allowed > most) allowed = most;
    return allowed < p->max_in_flight ? allowed : p->max_in_flight;
}
/* Give the servers as much work as the windows allow. */
void rm_work(pump *p, int64_t now_us) {
    pace *c = &p->pace;
    refresh(p);
    c->now_us = now_us;
    p->s.wait_us = -1;
    int64_t mean = (int64_t)p->s.mean_bytes + 64;
    int64_t count = next_scan_count(p);
    measure(p);
    double rate = pace_keys_per_s(p);
    if (rate >= 0) {
        if (c->tokens_us) c->tokens += rate * (double)(now_us - c->tokens_us) / 1e6;
        /* What a pause left over is not spent at once: side 0 and its users would feel the burst. */
        double most = rate * (double)BURST_US / 1e6;
        if (c->tokens > (most < 1 ? 1 : most)) c->tokens = most < 1 ? 1 : most;
    }
    c->tokens_us = now_us;
    p->s.calm = c->limit_keys_per_s >= 0 && c->limit_keys_per_s * (double)mean * TURN_US / 1e6 < CALM_BYTES;
    for (;;) {
        int64_t queued = (int64_t)(p->tail - p->next);
        int64_t ahead = count * 2 > SCAN_AHEAD_KEYS ? count * 2 : SCAN_AHEAD_KEYS;
        if (c->limit_keys_per_s >= 0) ahead = count * 2;
        if (!p->scan_outstanding && !p->s.scan_finished && queued < ahead && p->s.list_length < 20000) ask_scan(p, count);
        if (!queued) { if (!p->s.scan_finished) hold_back(p); break; }
        if (p->s.list_length > 10000) break;
        int64_t reading = (int64_t)(p->side0.expects.tail - p->side0.expects.head) / 2;
        int64_t allowed = window(p, mean);
        /* Without a mean to begin with, the first values tell how many may be on their way. */
        if (!p->mean_given && allowed > 64 + 2 * p->s.done) allowed = 64 + 2 * p->s.done;
        if (allowed < 8) allowed = 8;
        int64_t room = allowed - reading;
        if (!p->divert) {
            if (p->s.target_unsent > p->max_target_unsent) { hold_back(p); break; }
            int64_t target_most = allowed + (TARGET_BYTES / mean < TARGET_KEYS ? TARGET_BYTES / mean : TARGET_KEYS)
                + (int64_t)(c->keys_per_s * (double)c->target_round_trip_us / 1e6 * 2.5);
            if (target_most > p->max_target_in_flight) target_most = p->max_target_in_flight;
            int64_t target_room = target_most - (int64_t)(p->next - p->head);
            if (target_room < room) { room = target_room; hold_back(p); }
        }
        int64_t m = queued < room ? queued : room;
        if (m > GROUP) m = GROUP;
        int64_t least = allowed / 4 < 64 ? allowed / 4 : 64; /* no tiny groups while others are on their way */
        if (rate >= 0) {
            int64_t turn = (int64_t)(rate * (double)TURN_US / 1e6);
            if (turn < least) least = turn;
            if (least < 1) least = 1;
            if (c->tokens < (double)(m < least ? m : least)) {
                if (m <= 0) break;
                p->s.wait_us = (int64_t)(((double)(m < least ? m : least) - c->tokens) * 1e6 / (rate > 1 ? rate : 1)) + 1;
                break;
            }
            if ((double)m > c->tokens) m = (int64_t)c->tokens;
        }
        if (m <= 0 || (m < least && m < queued && reading > 0)) break;
        if (rate >= 0) c->tokens -= (double)m;
        if (c->probe_tail - c->probe_head < PROBES) {
            c->probes[c->probe_tail % PROBES].issued = p->side0.expects.tail + 1;
            c->probes[c->probe_tail++ % PROBES].sent_us = now_us;
        }
        uint64_t from = p->next, to = from + (uint64_t)m;
        p->next = to;
        p->s.issued += m;
        if (p->divert) {
            for (uint64_t s = from; s < to; s++) {
                entry *e = entry_at(p, s);
                put_on_list(p, e, WHY_DIVERTED, "", 0);
                finish(p, e, 0);
            }
            refresh(p);
            continue;
        }
        ask_states(p, from, to);
        p->s.queued = (int64_t)(p->tail - p->next);
    }
    refresh(p);
}

/* ---- answers ---- */
static void restore(pump *p, uint64_t seq, const uint8_t *payload, size_t size) {
    entry *e = entry_at(p, seq);
    line *l = line_for(p, e);
    buffer *o = &l->out;
    need(o, size + e->key_size + 200);
    if (e->expires_ms >= 0) {
        int64_t at = e->expires_ms + p->skew_ms;
        char text[24];
        size_t n = number_text(text, at < 1 ? 1 : (uint64_t)at);
        put(o, "*6\r\n$7\r\nRESTORE\r\n", 17);
        put_bulk(o, key_of(p, e), e->key_size);
        put_bulk(o, text, n);
        put_bulk(o, payload, size);
        put(o, "$7\r\nREPLACE\r\n$6\r\nABSTTL\r\n", 25);
    } else {
        put(o, "*5\r\n$7\r\nRESTORE\r\n", 17);
        put_bulk(o, key_of(p, e), e->key_size);
        put(o, "$1\r\n0\r\n", 7);
        put_bulk(o, payload, size);
        put(o, "$7\r\nREPLACE\r\n", 13);
    }
    expect(l, E_RESTORE, seq, 0);
    p->s.target_unsent += (int64_t)size;
}
static void got_value(pump *p, const expected *x, const uint8_t *data, size_t size, int nil) {
    entry *e = entry_at(p, x->seq);
    if (!nil) {
        p->s.payload_bytes += (int64_t)size;
        p->s.mean_bytes += ((double)size - p->s.mean_bytes) / 32;
    }
    if (e->flags & F_LISTED) finish(p, e, 0);
    else if (nil || e->expires_ms == NO_KEY) { put_on_list(p, e, WHY_GONE, "", 0); finish(p, e, 0); }
    else restore(p, x->seq, data, size);
}
static void got_error(pump *p, const expected *x, const char *text, size_t size, int why) {
    if (x->kind == E_TIME_BEFORE || x->kind == E_TIME_AFTER || x->kind == E_SCAN) { p->s.failed = 1; return; }
    entry *e = entry_at(p, x->seq);
    if (!(e->flags & F_LISTED)) put_on_list(p, e, why, text, size);
    if (x->kind != E_TTL) finish(p, e, 0); /* else its value is still to come */
}
/* Its first byte came after a round trip, whatever was before it, and its own work. */
static void scan_took(pump *p) {
    pace *c = &p->pace;
    double each = (double)(c->now_us - c->scan_sent_us - c->round_trip_us) / (double)c->scan_asked;
    if (c->scan_asked < 200) return; /* too few to tell its work from the line's */
    if (each < SCAN_LEAST_US) each = SCAN_LEAST_US;
    /* Waiting behind other commands is no work of it: the shortest of some counts, and slowly follows upwards. */
    c->scan_us_per_key = each < c->scan_us_per_key ? each : c->scan_us_per_key * 0.9 + each * 0.1;
}
static int scan_reply(pump *p, line *l) { /* 1: go on, 0: more bytes needed */
    buffer *b = &l->in;
    for (;;) {
        const uint8_t *at = b->data + b->from, *end = b->data + b->to, *eol;
        if (at >= end || !(eol = line_end(at, end))) return 0;
        int64_t n = integer(at + 1, eol);
        const uint8_t *body = eol + 2;
        switch (l->scan_phase) {
        case 0:
            scan_took(p);
            if (*at == '-') { p->s.failed = 2; return 0; }
            if (*at != '*' || n != 2) { p->s.failed = 1; return 0; }
            b->from = (size_t)(body - b->data);
            l->scan_phase = 1;
            break;
        case 1:
            if (*at != '$' || n < 1 || n > 22) { p->s.failed = 1; return 0; }
            if (end - body < n + 2) return 0;
            memcpy(p->cursor, body, (size_t)n);
            p->cursor[n] = 0;
            b->from = (size_t)(body + n + 2 - b->data);
            l->scan_phase = 2;
            break;
        case 2: {
            if (*at != '*') { p->s.failed = 1; return 0; }
            batch *fresh = new_batch(p);
            memcpy(fresh->cursor, p->cursor, sizeof fresh->cursor);
            l->scan_left = n;
            b->from = (size_t)(body - b->data);
            l->scan_phase = 3;
            break;
        }
        default:
            if (*at != '$' || n < 0) { p->s.failed = 1; return 0; }
            if (end - body < n + 2) return 0;
            new_entry(p, body, (size_t)n);
            b->from = (size_t)(body + n + 2 - b->data);
            l->scan_left--;
        }
        if (l->scan_phase == 3 && !l->scan_left) {
            batch_at(p, p->batch_tail - 1)->complete = 1;
            l->scan_phase = 0;
            p->scan_outstanding = 0;
            if (p->cursor[0] == '0' && !p->cursor[1]) p->s.scan_finished = 1;
            settle_batches(p);
            return 1;
        }
    }
}
static void parse(pump *p, line *l) {
    buffer *b = &l->in;
    fifo *f = &l->expects;
    for (;;) {
        if (p->s.failed) return;
        if (l->skip) {
            size_t have = b->to - b->from, now = have < l->skip ? have : l->skip;
            b->from += now;
            l->skip -= now;
            if (l->skip) return;
        }
        const uint8_t *at = b->data + b->from, *end = b->data + b->to, *eol;
        if (at >= end) return;
        if (f->head == f->tail) { p->s.failed = 1; return; } /* an answer to nothing */
        expected x = f->items[f->head & f->mask];
        if (x.kind == E_SCAN) {
            if (!scan_reply(p, l)) return;
        } else if (x.kind == E_RESTORE && end - at >= 5 && !memcmp(at, "+OK\r\n", 5)) {
            b->from += 5;
            entry *e = entry_at(p, x.seq);
            p->s.restored++;
            if (e->flags & F_SLACK) { put_on_list(p, e, WHY_EXPIRY, "", 0); finish(p, e, 0); }
            else finish(p, e, 1);
        } else if (x.kind == E_TIME_BEFORE || x.kind == E_TIME_AFTER) {
            const uint8_t *after = NULL;
            if (*at == '-') { p->s.failed = 2; return; }
            int64_t ms = time_reply(at, end, &after);
            if (ms < 0) return;
            b->from = (size_t)(after - b->data);
            if (x.kind == E_TIME_BEFORE) l->time_ms = ms;
            else if (ms - l->time_ms > SLACK_MS)
                for (uint64_t s = x.seq; s < x.seq + x.count; s++) {
                    entry *e = entry_at(p, s);
                    if (s >= p->head && e->expires_ms >= 0) e->flags |= F_SLACK;
                }
        } else {
            if (!(eol = line_end(at, end))) return;
            if (*at == '$') {
                int64_t n = integer(at + 1, eol);
                const uint8_t *body = eol + 2;
                if (x.kind != E_DUMP) { p->s.failed = 1; return; }
                if (n < 0) {
                    b->from = (size_t)(body - b->data);
                    got_value(p, &x, NULL, 0, 1);
                } else if (n > p->big_bytes) {
                    b->from = (size_t)(body - b->data);
                    l->skip = (size_t)n + 2;
                    got_error(p, &x, "", 0, WHY_BIG);
                } else {
                    if (end - body < n + 2) return;
                    b->from = (size_t)(body + n + 2 - b->data);
                    got_value(p, &x, body, (size_t)n, 0);
                }
            } else if (*at == ':') {
                if (x.kind != E_TTL) { p->s.failed = 1; return; }
                int64_t left = integer(at + 1, eol);
                b->from = (size_t)(eol + 2 - b->data);
                entry_at(p, x.seq)->expires_ms = left >= 0 && !l->absolute ? l->time_ms + left : left;
            } else if (*at == '-') {
                b->from = (size_t)(eol + 2 - b->data);
                got_error(p, &x, (const char *)at + 1, (size_t)(eol - at - 1), WHY_ERROR);
            } else { p->s.failed = 1; return; }
        }
        f->head++;
    }
}

/* ---- what Python calls ---- */
pump *rm_new(int line_count, int fan, const uint16_t *line_of_slot, int absolute, const char *cursor) {
    pump *p = new_pump(line_count, line_of_slot, cursor);
    p->fan = fan;
    p->side0.absolute = absolute;
    p->pace.limit_keys_per_s = -1;
    p->pace.scan_us_per_key = SCAN_GUESSED_US;
    p->pace.scan_most_us = 30000;
    p->scan_count = 1000;
    p->max_in_flight = 2000;
    p->max_bytes = 16 << 20;
    p->max_target_in_flight = 60000;
    p->max_target_unsent = 8 << 20;
    p->big_bytes = 32 << 20;
    return p;
}
void rm_limits(pump *p, int64_t scan_count, int64_t in_flight, int64_t bytes, int64_t target_in_flight, int64_t target_unsent,
    int64_t big) {
    p->scan_count = scan_count; p->max_in_flight = in_flight; p->max_bytes = bytes;
    p->max_target_in_flight = target_in_flight; p->max_target_unsent = target_unsent; p->big_bytes = big;
}
void rm_values(pump *p, int64_t skew_ms, double mean_bytes) {
    p->skew_ms = skew_ms; p->s.mean_bytes = mean_bytes; p->mean_given = mean_bytes > 0;
}
/* Round trips, and what side 0 may give until it is measured. */
void rm_line(pump *p, int64_t round_trip_us, int64_t target_round_trip_us, double keys_per_s) {
    p->pace.round_trip_us = round_trip_us; p->pace.target_round_trip_us = target_round_trip_us;
    p->pace.keys_per_s = p->pace.pace_keys_per_s = keys_per_s;
}
void rm_pace(pump *p, double keys_per_s, int64_t scan_most_us) { /* negative: no limit */
    p->pace.limit_keys_per_s = keys_per_s; p->pace.scan_most_us = scan_most_us;
}
void rm_divert(pump *p) { p->divert = 1; }
static line *line_at(pump *p, int no) { return no == -2 ? &p->scan : no == -1 ? &p->side0 : &p->side1[no]; }
void rm_received(pump *p, int no, size_t size, int64_t now_us) {
    line *l = line_at(p, no);
    p->pace.now_us = now_us;
    l->in.to += size;
    parse(p, l);
}
void rm_free(pump *p) { if (p) free_shared(p); }
