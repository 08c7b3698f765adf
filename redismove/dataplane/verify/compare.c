/*
 * The inner loop of comparing: RESP bytes in, RESP bytes out. It opens nothing and prints nothing: connections, TLS,
 * errors and everything rare are Python's (native.py); on plain sockets it sends, waits and receives by itself. What is
 * not the common case (a reply that is an error, a value too big, an expiry measured while the server paused, a type not
 * known here, and above all whatever is not equal) is put on a list that Python works through with the same code that it
 * would use without this file.
 *
 * Side 0 is where keys are scanned and read, on two connections: behind thousands of values a SCAN would come too late
 * to keep the servers busy. Side 1 has one or more connections, chosen by the key's slot.
 *   COMPARE side 0: SCAN, expiry, value; side 1: the same of the same key; equal, or on the list. How a value is read is
 *           what costs the servers least (measured with 20 to 200 elements on 6.2 and 7.0): many strings at once by MGET;
 *           lists, sets and hashes by the commands of their type, half of a DUMP; sorted sets and streams by DUMP, a
 *           third to a half of their commands, which write scores and ids as text. Meanwhile a node of side 1 is
 *           scanned too: which of its keys side 0 did not have is known by their marks when both scans are done
 *   EXISTS  side 0: SCAN; side 1: EXISTS of many keys at once; what is not there is put on the list
 *
 * Tested equal to the Python path (tests/redis/test_verify.py). Plain C11, no dependencies.
 */
#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <time.h>

#include "../resp.h"

enum { MODE_COMPARE = 1, MODE_EXISTS = 2 };
enum { E_SCAN = 1, E_TIME_BEFORE, E_TIME_AFTER, E_TTL, E_DUMP, E_GET, E_EXISTS, E_TYPE, E_ARRAY, E_MGET };
enum { KIND_UNKNOWN = 0, KIND_NONE, KIND_STRING, KIND_LIST, KIND_SET, KIND_ZSET, KIND_HASH, KIND_OTHER };
enum { /* why a key is on the list */
    WHY_ERROR = 1, WHY_BIG, WHY_SUSPECT, WHY_MISSING
};
#define NO_EXPIRY (-1)
#define NO_KEY (-2)
#define GROUP 256
#define SLACK_MS 2
#define TYPED_ABOVE_BYTES 384
#define SEND_BYTES ((size_t)1 << 18)
#define RECEIVE_BYTES ((size_t)1 << 18)
#define AHEAD_KEYS 4000 /* the other scan keeps pace with the comparison */

typedef struct { uint64_t a, b, count; } lanes;
typedef struct {
    buffer in, out;
    fifo expects;
    int scan_phase;
    int64_t scan_left;
    size_t skip;
    int64_t time_ms;
    int absolute, mget;
    int array_open; /* inside an array reply */
    int64_t array_left, array_index, array_bytes;
    lanes run, element;
} line;
typedef struct {
    uint8_t *keys;
    size_t used, capacity;
    int64_t remaining, equal;
    uint64_t sum_low, sum_high;
    char cursor[24];
    int complete;
} batch;
typedef struct {
    uint64_t batch_no;
    size_t key_at;
    uint32_t key_size;
    uint8_t bulk_head; /* bytes of "$14\r\n" that stand before the key */
    uint8_t state, got[2], flags, got_value, borrowed, line_no, kind, digest[2][16];
    int64_t expires_ms[2];
    uint8_t *value[2];
    size_t value_size[2];
} entry;
enum { F_LISTED = 1, F_SLACK = 2, F_AGAIN = 4 };

typedef struct {
    int64_t scanned, done, equal, settled_equal, listed, payload_bytes, in_flight, queued, list_length;
    int64_t scan_finished, finished, other_scanned, other_finished, settled;
    uint64_t sum_low, sum_high;
    double mean_bytes;
    int64_t failed; /* protocol violation */
    char safe_cursor[24];
} stats;

typedef struct {
    int mode;
    int line_count; /* of side 1 */
    line scan, side0, other; /* other: the scan of side 1 */
    line *side1;
    uint16_t *line_of_slot;
    entry *entries;
    uint64_t head, next, tail, mask;
    batch *batches;
    uint64_t batch_head, batch_tail, batch_mask;
    rare *list;
    size_t list_head, list_tail, list_capacity;
    char cursor[24], other_cursor[24];
    int scan_outstanding, other_outstanding, scans_other;
    int64_t scan_count, max_in_flight, max_bytes, big_bytes;
    int64_t skew_ms, tolerance_ms;
    int hash_by_dump, mean_given;
    void *pool, *slabs; /* small values that wait for the other side's */
    void *seen; /* COMPARE adds keys to it, EXISTS asks it instead of the other server */
    int database;
    uint64_t recent_strings;
    stats s;
} pump;

#include "../loop.h"

/* ---- blake2b, 16 bytes (RFC 7693) ---- */
typedef struct { uint64_t h[8], t; uint8_t block[128]; size_t used; } blake;
static const uint64_t IV[8] = {0x6a09e667f3bcc908ULL, 0xbb67ae8584caa73bULL, 0x3c6ef372fe94f82bULL, 0xa54ff53a5f1d36f1ULL,
    0x510e527fade682d1ULL, 0x9b05688c2b3e6c1fULL, 0x1f83d9abfb41bd6bULL, 0x5be0cd19137e2179ULL};
static const uint8_t SIGMA[12][16] = {{0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15},{14,10,4,8,9,15,13,6,1,12,0,2,11,7,5,3},
    {11,8,12,0,5,2,15,13,10,14,3,6,7,1,9,4},{7,9,3,1,13,12,11,14,2,6,5,10,4,0,15,8},{9,0,5,7,2,4,10,15,14,1,11,12,6,8,3,13},
    {2,12,6,10,0,11,8,3,4,13,7,5,15,14,1,9},{12,5,1,15,14,13,4,10,0,7,6,3,9,2,8,11},{13,11,7,14,12,1,3,9,5,0,15,4,8,6,2,10},
    {6,15,14,9,11,3,0,8,12,2,13,7,1,4,10,5},{10,2,8,4,7,6,1,5,15,11,9,14,3,12,13,0},{0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15},
    {14,10,4,8,9,15,13,6,1,12,0,2,11,7,5,3}};
static inline uint64_t load64(const uint8_t *p) { uint64_t v; memcpy(&v, p, 8); return v; } /* little endian machines */
static inline uint64_t rotr(uint64_t x, int n) { return (x >> n) | (x << (64 - n)); }
#define G(a, b, c, d, x, y) a += b + x; d = rotr(d ^ a, 32); c += d; b = rotr(b ^ c, 24); \
    a += b + y; d = rotr(d ^ a, 16); c += d; b = rotr(b ^ c, 63)
static void blake_compress(blake *b, const uint8_t *block, int last) {
    uint64_t v[16], m[16];
    for (int i = 0; i < 16; i++) m[i] = load64(block + 8 * i);
    for (int i = 0; i < 8; i++) { v[i] = b->h[i]; v[i + 8] = IV[i]; }
    v[12] ^= b->t;
    if (last) v[14] = ~v[14];
#define ROUND(r) { const uint8_t *s = SIGMA[r]; \
        G(v[0], v[4], v[8], v[12], m[s[0]], m[s[1]]); G(v[1], v[5], v[9], v[13], m[s[2]], m[s[3]]); \
        G(v[2], v[6], v[10], v[14], m[s[4]], m[s[5]]); G(v[3], v[7], v[11], v[15], m[s[6]], m[s[7]]); \
        G(v[0], v[5], v[10], v[15], m[s[8]], m[s[9]]); G(v[1], v[6], v[11], v[12], m[s[10]], m[s[11]]); \
        G(v[2], v[7], v[8], v[13], m[s[12]], m[s[13]]); G(v[3], v[4], v[9], v[14], m[s[14]], m[s[15]]); }
    ROUND(0) ROUND(1) ROUND(2) ROUND(3) ROUND(4) ROUND(5) ROUND(6) ROUND(7) ROUND(8) ROUND(9) ROUND(10) ROUND(11)
    for (int i = 0; i < 8; i++) b->h[i] ^= v[i] ^ v[i + 8];
}
static void blake_start(blake *b) {
    memcpy(b->h, IV, sizeof IV);
    b->h[0] ^= 0x01010000 ^ 16;
    b->t = 0;
    b->used = 0;
}
static void blake_add(blake *b, const void *data, size_t size) {
    const uint8_t *p = data;
    while (size) {
        if (b->used == 128) { b->t += 128; blake_compress(b, b->block, 0); b->used = 0; }
        if (b->used == 0) while (size > 128) { b->t += 128; blake_compress(b, p, 0); p += 128; size -= 128; }
        size_t take = 128 - b->used < size ? 128 - b->used : size;
        memcpy(b->block + b->used, p, take);
        b->used += take; p += take; size -= take;
    }
}
static void blake_end(blake *b, uint8_t out[16]) {
    b->t += b->used;
    memset(b->block + b->used, 0, 128 - b->used);
    blake_compress(b, b->block, 1);
    memcpy(out, b->h, 16);
}
static void blake_part(blake *b, const void *data, size_t size) { /* framed */
    uint32_t length = (uint32_t)size;
    blake_add(b, &length, 4);
    blake_add(b, data, size);
}
/* Elements of collections: two lanes of multiply and fold (payload.py has the same), far cheaper than BLAKE2b for the
 * short ones; long ones are hashed by BLAKE2b first. */
static const uint64_t K[4] = {0xa0761d6478bd642fULL, 0xe7037ed1a0b428dbULL, 0x8ebc6af09c88c6e3ULL, 0x589965cc75374cc3ULL};
static inline uint64_t fold(uint64_t x, uint64_t y) {
    unsigned __int128 product = (unsigned __int128)x * y;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}
static void lanes_start(lanes *l) { l->a = K[0]; l->b = K[2]; l->count = 0; }
static void mix(lanes *l, const void *data, size_t size) {
    const uint8_t *p = data;
    uint8_t shorter[16];
    uint64_t a = l->a, b = l->b, length = size;
    if (size > 64) {
        blake h;
        blake_start(&h);
        blake_add(&h, p, size);
        blake_end(&h, shorter);
        p = shorter;
        size = 16;
    }
    while (size) {
        uint64_t x, y;
        if (size >= 16) { x = load64(p); y = load64(p + 8); p += 16; size -= 16; }
        else {
            uint8_t last[16] = {0};
            memcpy(last, p, size);
            x = load64(last);
            y = load64(last + 8);
            size = 0;
        }
        a = fold(a ^ x ^ K[0], y ^ K[1]);
        b = fold(b ^ y ^ K[2], x ^ K[3]);
    }
    l->a = fold(a ^ K[2], length ^ K[1]);
    l->b = fold(b ^ K[0], length ^ K[3]);
    l->count++;
}
static void add128(uint64_t *low, uint64_t *high, const uint8_t d[16]) {
    uint64_t l = load64(d), before = *low;
    *low += l;
    *high += load64(d + 8) + (*low < before);
}

/* ---- keys ---- */
static int seen_add(void *set, const uint8_t *key, size_t size, int side);
static void settle_batches(pump *p) {
    while (p->batch_head < p->batch_tail) {
        batch *b = batch_at(p, p->batch_head);
        if (!b->complete || b->remaining) return;
        memcpy(p->s.safe_cursor, b->cursor, sizeof b->cursor);
        p->s.settled_equal += b->equal;
        uint64_t before = p->s.sum_low;
        p->s.sum_low += b->sum_low;
        p->s.sum_high += b->sum_high + (p->s.sum_low < before);
        free(b->keys);
        b->keys = NULL;
        p->s.settled = (int64_t)++p->batch_head;
    }
}
/* `bulk` is the key as SCAN gave it and as commands take it. */
static void new_entry(pump *p, const uint8_t *bulk, size_t bulk_size, size_t head) {
    uint8_t *room;
    entry *e = new_entry_of(p, bulk_size, &room);
    memcpy(room, bulk, bulk_size);
    e->key_at += head;
    e->bulk_head = (uint8_t)head;
    e->key_size = (uint32_t)(bulk_size - head - 2);
    e->expires_ms[0] = e->expires_ms[1] = NO_EXPIRY;
    /* SCAN may give a key twice: it is compared twice and counted once. */
    if (p->seen && p->mode == MODE_COMPARE && seen_add(p->seen, bulk + head, e->key_size, 0)) e->flags |= F_AGAIN;
}
#define SMALL 240
static uint8_t *value_room(pump *p, size_t size) {
    if (size > SMALL) return malloc(size);
    if (!p->pool) {
        uint8_t *slab = malloc(8 + 256 * SMALL);
        memcpy(slab, &p->slabs, sizeof p->slabs);
        p->slabs = slab;
        for (int i = 0; i < 256; i++) {
            void *piece = slab + 8 + i * SMALL;
            memcpy(piece, &p->pool, sizeof p->pool);
            p->pool = piece;
        }
    }
    uint8_t *piece = p->pool;
    memcpy(&p->pool, piece, sizeof p->pool);
    return piece;
}
static void value_done(pump *p, uint8_t *value, size_t size) {
    if (!value) return;
    if (size > SMALL) { free(value); return; }
    memcpy(value, &p->pool, sizeof p->pool);
    p->pool = value;
}
static void pop_entries(pump *p) { while (p->head < p->next && entry_at(p, p->head)->state == 2) p->head++; }
static void finish(pump *p, entry *e, int count_batch) {
    for (int side = 0; side < 2; side++) { if (e->borrowed != 1 + side) value_done(p, e->value[side], e->value_size[side]); e->value[side] = NULL; }
    e->state = 2;
    p->s.done++;
    if (count_batch) batch_done(p, e->batch_no);
    pop_entries(p);
}
static void put_on_list(pump *p, entry *e, int why, const char *text, size_t text_size) {
    list_key(p, e, why, text, text_size);
    p->s.listed++;
}

/* ---- reading payloads: the same canonical digest as payload.py ---- */
typedef struct { const uint8_t *p, *end; int bad; } reader;
typedef struct { const uint8_t *data; size_t size; int64_t number; int is_number; } item;
typedef struct { item *items; size_t count, capacity; uint8_t **owned; size_t owned_count, owned_capacity; } items;

static const uint8_t *take(reader *r, size_t size) {
    if ((size_t)(r->end - r->p) < size) { r->bad = 1; return NULL; }
    const uint8_t *at = r->p;
    r->p += size;
    return at;
}
static uint64_t big_endian(const uint8_t *p, int n) { uint64_t v = 0; while (n--) v = v << 8 | *p++; return v; }
static int64_t little_signed(const uint8_t *p, int n) {
    uint64_t v = 0;
    for (int i = 0; i < n; i++) v |= (uint64_t)p[i] << (8 * i);
    if (n < 8 && p[n - 1] & 0x80) v |= ~0ULL << (8 * n);
    return (int64_t)v;
}
static uint64_t rdb_length(reader *r, int *encoded) {
    const uint8_t *first = take(r, 1), *q;
    *encoded = 0;
    if (!first) return 0;
    switch (*first >> 6) {
    case 0: return *first & 63;
    case 1: q = take(r, 1); return q ? (uint64_t)(*first & 63) << 8 | *q : 0;
    case 3: *encoded = 1; return *first & 63;
    }
    if (*first == 0x80) { q = take(r, 4); return q ? big_endian(q, 4) : 0; }
    if (*first == 0x81) { q = take(r, 8); return q ? big_endian(q, 8) : 0; }
    r->bad = 1;
    return 0;
}
static uint64_t plain_length(reader *r) {
    int encoded;
    uint64_t v = rdb_length(r, &encoded);
    if (encoded) r->bad = 1;
    return v;
}
static void own(items *s, uint8_t *data) {
    if (s->owned_count == s->owned_capacity) {
        s->owned_capacity = s->owned_capacity ? s->owned_capacity * 2 : 16;
        s->owned = realloc(s->owned, s->owned_capacity * sizeof *s->owned);
    }
    s->owned[s->owned_count++] = data;
}
static int lzf(const uint8_t *in, size_t size, uint8_t *out, size_t out_size) {
    const uint8_t *end = in + size;
    uint8_t *o = out, *o_end = out + out_size;
    while (in < end) {
        unsigned control = *in++;
        if (control < 32) {
            control++;
            if (end - in < (ptrdiff_t)control || o_end - o < (ptrdiff_t)control) return 0;
            memcpy(o, in, control);
            o += control; in += control;
            continue;
        }
        size_t length = control >> 5;
        if (length == 7) { if (in >= end) return 0; length += *in++; }
        if (in >= end) return 0;
        size_t back = ((control & 31) << 8) + *in++ + 1;
        length += 2;
        if ((size_t)(o - out) < back || (size_t)(o_end - o) < length) return 0;
        const uint8_t *from = o - back;
        if (back >= 8 && (size_t)(o_end - o) >= length + 8) { /* eight at a time, the last ones perhaps too many */
            uint8_t *stop = o + length;
            do { memcpy(o, from, 8); o += 8; from += 8; } while (o < stop);
            o = stop;
        } else while (length--) *o++ = *from++;
    }
    return o == o_end;
}
static item rdb_string(reader *r, items *owner) {
    item it = {0};
    int encoded;
    uint64_t length = rdb_length(r, &encoded);
    if (r->bad) return it;
    if (!encoded) {
        it.data = take(r, length);
        it.size = length;
        return it;
    }
    if (length <= 2) {
        const uint8_t *q = take(r, (size_t)1 << length);
        if (!q) return it;
        it.is_number = 1;
        it.number = little_signed(q, 1 << length);
        return it;
    }
    if (length == 3) {
        uint64_t packed = plain_length(r), plain = plain_length(r);
        const uint8_t *q = take(r, packed);
        if (!q || plain > (1ULL << 32)) { r->bad = 1; return it; }
        uint8_t *out = malloc(plain + 1);
        own(owner, out);
        if (!lzf(q, packed, out, plain)) r->bad = 1;
        it.data = out;
        it.size = plain;
        return it;
    }
    r->bad = 1;
    return it;
}
static void push(items *s, item it) {
    if (s->count == s->capacity) {
        s->capacity = s->capacity ? s->capacity * 2 : 256;
        s->items = realloc(s->items, s->capacity * sizeof *s->items);
    }
    s->items[s->count++] = it;
}
/* Numbers become their text once they are compared or hashed. */
static item as_text(const item *it, char text[24]) {
    if (!it->is_number) return *it;
    item out = {0};
    uint64_t magnitude = it->number < 0 ? 0 - (uint64_t)it->number : (uint64_t)it->number;
    size_t n = 0;
    if (it->number < 0) text[n++] = '-';
    n += number_text(text + n, magnitude);
    out.data = (uint8_t *)text;
    out.size = n;
    return out;
}
static void listpack(reader *r, const item *blob, items *out) {
    const uint8_t *d = blob->data, *end = d + blob->size, *p = d + 6;
    if (blob->is_number || blob->size < 7) { r->bad = 1; return; }
    while (p < end) {
        item it = {0};
        size_t size;
        if (*p < 0x80) { it.is_number = 1; it.number = *p; size = 1; }
        else if (*p < 0xC0) { it.size = *p & 63; it.data = p + 1; size = 1 + it.size; }
        else if (*p < 0xE0) {
            if (end - p < 2) break;
            it.is_number = 1;
            it.number = (*p & 31) << 8 | p[1];
            if (it.number >= 4096) it.number -= 8192;
            size = 2;
        } else if (*p < 0xF0) { if (end - p < 2) break; it.size = (size_t)(*p & 15) << 8 | p[1]; it.data = p + 2; size = 2 + it.size; }
        else if (*p == 0xF0) {
            if (end - p < 5) break;
            it.size = (size_t)p[1] | (size_t)p[2] << 8 | (size_t)p[3] << 16 | (size_t)p[4] << 24;
            it.data = p + 5;
            size = 5 + it.size;
        } else if (*p == 0xFF) return;
        else {
            static const int WIDTH[] = {2, 3, 4, 8};
            if (*p > 0xF4) break;
            int width = WIDTH[*p - 0xF1];
            if (end - p <= width) break;
            it.is_number = 1;
            it.number = little_signed(p + 1, width);
            size = 1 + (size_t)width;
        }
        size_t back = size <= 127 ? 1 : size < 16383 ? 2 : size < 2097151 ? 3 : size < 268435455 ? 4 : 5;
        if ((size_t)(end - p) <= size + back) break;
        push(out, it);
        p += size + back;
    }
    r->bad = 1;
}
static void ziplist(reader *r, const item *blob, items *out) {
    const uint8_t *d = blob->data, *end = d + blob->size, *p = d + 10;
    if (blob->is_number || blob->size < 11) { r->bad = 1; return; }
    while (p < end) {
        if (*p == 0xFF) return;
        p += *p == 0xFE ? 5 : 1;
        if (end - p < 6 && !(p < end)) break;
        item it = {0};
        uint8_t first = *p;
        if (first < 0x40) { it.size = first & 63; p += 1; }
        else if (first < 0x80) { if (end - p < 2) break; it.size = (size_t)(first & 63) << 8 | p[1]; p += 2; }
        else if (first < 0xC0) { if (end - p < 5) break; it.size = (size_t)big_endian(p + 1, 4); p += 5; }
        else {
            int width = first == 0xC0 ? 2 : first == 0xD0 ? 4 : first == 0xE0 ? 8 : first == 0xF0 ? 3 : first == 0xFE ? 1 : 0;
            if (end - p <= width) break;
            it.is_number = 1;
            it.number = width ? little_signed(p + 1, width) : (first & 15) - 1;
            p += 1 + width;
            push(out, it);
            continue;
        }
        if ((size_t)(end - p) <= it.size) break;
        it.data = p;
        p += it.size;
        push(out, it);
    }
    r->bad = 1;
}
static void intset(reader *r, const item *blob, items *out) {
    if (blob->is_number || blob->size < 8) { r->bad = 1; return; }
    uint32_t width, count;
    memcpy(&width, blob->data, 4);
    memcpy(&count, blob->data + 4, 4);
    if ((width != 2 && width != 4 && width != 8) || blob->size < 8 + (size_t)width * count) { r->bad = 1; return; }
    for (uint32_t i = 0; i < count; i++)
        push(out, (item){.is_number = 1, .number = little_signed(blob->data + 8 + (size_t)i * width, (int)width)});
}
/* Up to 18 digits with a point among them, rounded as strtod does; 0: too hard for this. */
static int quick_double(const uint8_t *p, size_t size, double *out) {
    static const uint64_t TEN[19] = {1ULL, 10ULL, 100ULL, 1000ULL, 10000ULL, 100000ULL, 1000000ULL, 10000000ULL, 100000000ULL,
        1000000000ULL, 10000000000ULL, 100000000000ULL, 1000000000000ULL, 10000000000000ULL, 100000000000000ULL,
        1000000000000000ULL, 10000000000000000ULL, 100000000000000000ULL, 1000000000000000000ULL};
    const uint8_t *end = p + size;
    int negative = size > 1 && *p == '-', places = -1;
    uint64_t w = 0;
    p += negative;
    if (p == end || *p == '.') return 0;
    for (; p < end; p++) {
        if (*p == '.' && places < 0) { places = 0; continue; }
        if ((uint8_t)(*p - '0') > 9 || w >= TEN[17]) return 0;
        w = w * 10 + (uint64_t)(*p - '0');
        if (places >= 0) places++;
    }
    if (places == 0 || places > 18) return 0;
    double v;
    if (places < 0 || !w) v = (double)w;
    else { /* w / 10^places with 62 bits or more and a remainder, then rounded to 53, half to even */
        uint64_t d = TEN[places];
        int shift = 63 + (64 - __builtin_clzll(d)) - (64 - __builtin_clzll(w));
        unsigned __int128 n = (unsigned __int128)w << shift;
        uint64_t q = (uint64_t)(n / d), rest = (uint64_t)(n % d);
        int drop = 64 - __builtin_clzll(q) - 53;
        uint64_t m = q >> drop, low = q & ((1ULL << drop) - 1), half = 1ULL << (drop - 1), bits;
        if (low > half || (low == half && (rest || (m & 1)))) m++;
        bits = (uint64_t)(1023 + drop - shift) << 52;
        memcpy(&v, &bits, 8);
        v *= (double)m;
    }
    *out = negative ? -v : v;
    return 1;
}
static double text_double(reader *r, const item *it) {
    char text[64];
    double quick;
    if (it->is_number) return (double)it->number;
    if (quick_double(it->data, it->size, &quick)) return quick;
    if (it->size >= sizeof text) { r->bad = 1; return 0; }
    memcpy(text, it->data, it->size);
    text[it->size] = 0;
    char *end;
    double v = strtod(text, &end);
    if (end != text + it->size || !it->size) r->bad = 1;
    return v;
}
static void score_part(lanes *l, double score) { score += 0.0; mix(l, &score, 8); }
static void item_part(lanes *l, const item *it) {
    char text[24];
    item t = as_text(it, text);
    mix(l, t.data, t.size);
}
static void add_element(lanes *sum, const lanes *element) { sum->a += element->a; sum->b += element->b; sum->count++; }
static void end_value(const lanes *l, const char *kind, uint8_t out[16]) {
    blake b;
    char text[24];
    uint8_t total[16];
    uint64_t count = l->count;
    memcpy(total, &l->a, 8);
    memcpy(total + 8, &l->b, 8);
    blake_start(&b);
    blake_part(&b, kind, strlen(kind));
    blake_part(&b, text, number_text(text, count));
    blake_part(&b, total, 16);
    blake_end(&b, out);
}
typedef struct {
    uint8_t digest[16];
    uint64_t facts[64];
    int fact_count, has_facts;
    lanes entries; /* of a stream: its entries, and how many bytes they are */
    size_t entries_size;
} outline;

static void id_part(lanes *l, uint64_t ms, uint64_t sequence) {
    uint64_t id[2] = {ms, sequence};
    mix(l, id, 16);
}
static void stream_node(reader *r, lanes *b, uint64_t ms, uint64_t sequence, const items *n) {
    size_t i = 0;
#define NUMBER() (i < n->count && n->items[i].is_number ? n->items[i++].number : (r->bad = 1, 0))
    int64_t live = NUMBER(), deleted = NUMBER(), named = NUMBER();
    size_t names = i;
    if (r->bad || named < 0 || i + (size_t)named + 1 > n->count) { r->bad = 1; return; }
    i += (size_t)named + 1;
    for (int64_t k = 0; k < live + deleted && !r->bad; k++) {
        int64_t flags = NUMBER(), ms_more = NUMBER(), sequence_more = NUMBER();
        int64_t pairs = flags & 2 ? named : NUMBER();
        size_t from = i, step = flags & 2 ? (size_t)pairs : 2 * (size_t)pairs;
        if (r->bad || pairs < 0 || i + step + 1 > n->count) { r->bad = 1; return; }
        i += step + 1;
        if (flags & 1) continue;
        mix(b, "e", 1);
        id_part(b, ms + (uint64_t)ms_more, sequence + (uint64_t)sequence_more);
        uint32_t count = (uint32_t)pairs;
        mix(b, &count, 4);
        for (int64_t f = 0; f < pairs; f++) {
            item_part(b, flags & 2 ? &n->items[names + (size_t)f] : &n->items[from + 2 * (size_t)f]);
            item_part(b, flags & 2 ? &n->items[from + (size_t)f] : &n->items[from + 2 * (size_t)f + 1]);
        }
    }
#undef NUMBER
}
typedef struct { uint64_t ms, sequence, deliveries; int64_t at_ms; item consumer; int owned; } pending;
static void fact(reader *r, outline *o, uint64_t v) {
    if (o->fact_count == 64) { r->bad = 1; return; } /* more groups than fit: Python compares */
    o->facts[o->fact_count++] = v;
}
static int by_id(const void *a, const void *b) {
    const pending *x = a, *y = b;
    if (x->ms != y->ms) return x->ms < y->ms ? -1 : 1;
    return x->sequence < y->sequence ? -1 : x->sequence > y->sequence;
}
/* `known`: what the entries of the other side's payload came to, when its bytes up to `known_size` are the same here. */
static void stream(reader *r, int type, items *scratch, outline *o, const lanes *known, size_t known_size) {
    lanes b;
    const uint8_t *begun = r->p;
    items node = {0};
    if (known) b = *known; else lanes_start(&b);
    if (known) r->p += known_size;
    uint64_t nodes = known ? 0 : plain_length(r);
    for (uint64_t i = 0; i < nodes && !r->bad; i++) {
        item id = rdb_string(r, scratch), blob = rdb_string(r, scratch);
        if (r->bad || id.is_number || id.size != 16) { r->bad = 1; break; }
        node.count = 0;
        listpack(r, &blob, &node);
        if (!r->bad) stream_node(r, &b, big_endian(id.data, 8), big_endian(id.data + 8, 8), &node);
    }
    free(node.items);
    o->entries = b;
    o->entries_size = (size_t)(r->p - begun);
    plain_length(r);
    uint64_t last_ms = plain_length(r), last_sequence = plain_length(r);
    mix(&b, "l", 1);
    id_part(&b, last_ms, last_sequence);
    o->has_facts = type >= 19;
    if (type >= 19) {
        plain_length(r); plain_length(r);
        for (int i = 0; i < 3; i++) { uint64_t v = plain_length(r); fact(r, o, v); }
    }
    uint64_t groups = plain_length(r);
    for (uint64_t g = 0; g < groups && !r->bad; g++) {
        item name = rdb_string(r, scratch);
        uint64_t ms = plain_length(r), sequence = plain_length(r);
        if (type >= 19) { uint64_t v = plain_length(r); fact(r, o, v); }
        if (r->bad) break;
        mix(&b, "g", 1);
        item_part(&b, &name);
        id_part(&b, ms, sequence);
        uint64_t count = plain_length(r);
        if (count > (uint64_t)(r->end - r->p)) { r->bad = 1; break; }
        pending *all = calloc(count ? count : 1, sizeof *all);
        for (uint64_t i = 0; i < count && !r->bad; i++) {
            const uint8_t *id = take(r, 16), *at = take(r, 8);
            uint64_t deliveries = plain_length(r);
            if (r->bad) break;
            all[i] = (pending){big_endian(id, 8), big_endian(id + 8, 8), deliveries, little_signed(at, 8), {0}, 0};
        }
        uint64_t consumers = plain_length(r);
        for (uint64_t c = 0; c < consumers && !r->bad; c++) {
            item consumer = rdb_string(r, scratch);
            take(r, type >= 21 ? 16 : 8);
            uint64_t owned = plain_length(r);
            if (r->bad) break;
            mix(&b, "c", 1);
            item_part(&b, &consumer);
            for (uint64_t i = 0; i < owned && !r->bad; i++) {
                const uint8_t *id = take(r, 16);
                if (!id) break;
                pending wanted = {.ms = big_endian(id, 8), .sequence = big_endian(id + 8, 8)};
                pending *found = bsearch(&wanted, all, count, sizeof *all, by_id); /* the group's list is in this order */
                if (!found) { r->bad = 1; break; }
                found->consumer = consumer;
                found->owned = 1;
            }
        }
        for (uint64_t i = 0; i < count && !r->bad; i++) {
            mix(&b, "p", 1);
            id_part(&b, all[i].ms, all[i].sequence);
            item_part(&b, &all[i].consumer);
            uint64_t rest[2] = {(uint64_t)all[i].at_ms, all[i].deliveries};
            mix(&b, rest, 16);
        }
        free(all);
    }
    if (!r->bad) end_value(&b, "stream", o->digest);
}
static void digest_string(const void *data, size_t size, uint8_t out[16]) {
    blake b;
    blake_start(&b);
    blake_part(&b, "string", 6);
    blake_part(&b, data, size);
    blake_end(&b, out);
}
static void free_items(items *s) {
    for (size_t i = 0; i < s->owned_count; i++) free(s->owned[i]);
    free(s->owned);
    free(s->items);
}
static int kind_of_type(int type) {
    switch (type) {
    case 0: return KIND_STRING;
    case 1: case 10: case 14: case 18: return KIND_LIST;
    case 2: case 11: case 20: return KIND_SET;
    case 4: case 13: case 16: return KIND_HASH;
    case 5: case 12: case 17: return KIND_ZSET;
    case 15: case 19: case 21: return KIND_OTHER; /* a stream */
    }
    return KIND_UNKNOWN; /* Python's */
}
/* The pieces of a list, set, hash or sorted set in their order; `s` also owns what had to be decompressed. */
static void collect(reader *r, int type, items *s) {
    if (type == 1 || type == 2 || type == 4) {
        uint64_t n = plain_length(r) * (type == 4 ? 2 : 1);
        for (uint64_t i = 0; i < n && !r->bad; i++) push(s, rdb_string(r, s));
    } else if (type == 14 || type == 18) {
        uint64_t n = plain_length(r);
        for (uint64_t i = 0; i < n && !r->bad; i++) {
            uint64_t form = type == 18 ? plain_length(r) : 0;
            item it = rdb_string(r, s);
            if (r->bad) return;
            if (form == 1) push(s, it);
            else (type == 18 ? listpack : ziplist)(r, &it, s);
        }
    } else if (type == 5) {
        uint64_t n = plain_length(r);
        for (uint64_t i = 0; i < n && !r->bad; i++) {
            push(s, rdb_string(r, s));
            const uint8_t *score = take(r, 8);
            push(s, (item){.data = score, .size = 8});
        }
    } else {
        item it = rdb_string(r, s);
        if (r->bad) return;
        if (type == 11) intset(r, &it, s);
        else (type == 10 || type == 12 || type == 13 ? ziplist : listpack)(r, &it, s);
    }
    int kind = kind_of_type(type);
    if ((kind == KIND_HASH || kind == KIND_ZSET) && s->count % 2) r->bad = 1;
}
static void digest_items(reader *r, int type, const items *s, uint8_t out[16]) {
    static const char *const WORDS[] = {"", "", "string", "list", "set", "zset", "hash"};
    int kind = kind_of_type(type), step = kind == KIND_HASH || kind == KIND_ZSET ? 2 : 1;
    lanes run = {0}, e;
    if (kind == KIND_LIST || kind == KIND_ZSET) lanes_start(&run);
    for (size_t k = 0; k < s->count && !r->bad; k += (size_t)step) {
        size_t i = type == 5 ? s->count - 2 - k : k; /* saved from the highest score to the lowest */
        if (kind == KIND_LIST) item_part(&run, &s->items[i]);
        else if (kind == KIND_ZSET) {
            double score;
            item_part(&run, &s->items[i]);
            if (type == 5) memcpy(&score, s->items[i + 1].data, 8);
            else score = text_double(r, &s->items[i + 1]);
            score_part(&run, score);
        } else {
            lanes_start(&e);
            item_part(&e, &s->items[i]);
            if (kind == KIND_HASH) item_part(&e, &s->items[i + 1]);
            add_element(&run, &e);
        }
    }
    end_value(&run, WORDS[kind], out);
}
/* Returns 1 when the payload was understood; what is not is left to Python. */
static int digest_payload(const uint8_t *data, size_t size, outline *o) {
    if (size <= 10) return 0;
    memset(o, 0, sizeof *o);
    reader r = {data + 1, data + size - 10, 0};
    items s = {0};
    int type = data[0], kind = kind_of_type(type);
    if (kind == KIND_UNKNOWN) r.bad = 1;
    else if (kind == KIND_STRING) {
        char text[24];
        item raw = rdb_string(&r, &s), it = as_text(&raw, text);
        if (!r.bad) digest_string(it.data, it.size, o->digest);
    } else if (kind == KIND_OTHER) stream(&r, type, &s, o, NULL, 0);
    else {
        collect(&r, type, &s);
        if (!r.bad) digest_items(&r, type, &s, o->digest);
    }
    free_items(&s);
    return !r.bad;
}
static int same_items(const items *x, const items *y) {
    if (x->count != y->count) return 0;
    for (size_t i = 0; i < x->count; i++) {
        const item *a = &x->items[i], *b = &y->items[i];
        if (a->is_number != b->is_number) {
            char text[24], other[24];
            item s = as_text(a, text), t = as_text(b, other);
            if (s.size != t.size || memcmp(s.data, t.data, s.size)) return 0;
        } else if (a->is_number ? a->number != b->number : a->size != b->size || memcmp(a->data, b->data, a->size)) return 0;
    }
    return 1;
}
/* Two payloads with different bytes: the digest of the first, and whether the second holds the same. Usually the pieces
 * are the same in the same order, in another packing, and need not be digested twice. */
static int same_value(const uint8_t *x, size_t n, const uint8_t *y, size_t m, uint8_t digest[16]) {
    outline mine, theirs;
    int kind = kind_of_type(x[0]);
    if (n <= 10 || m <= 10 || kind == KIND_UNKNOWN || kind_of_type(y[0]) != kind) return 0;
    if (kind == KIND_LIST || kind == KIND_SET || kind == KIND_HASH || (kind == KIND_ZSET && x[0] != 5 && y[0] != 5)) {
        reader r = {x + 1, x + n - 10, 0}, q = {y + 1, y + m - 10, 0};
        items s = {0}, t = {0};
        collect(&r, x[0], &s);
        collect(&q, y[0], &t);
        int ok = !r.bad && !q.bad, same = ok && same_items(&s, &t);
        if (ok) digest_items(&r, x[0], &s, mine.digest);
        if (ok && !same && (kind == KIND_SET || kind == KIND_HASH || kind == KIND_ZSET)) {
            digest_items(&q, y[0], &t, theirs.digest);
            same = !memcmp(mine.digest, theirs.digest, 16);
        }
        if (r.bad || q.bad) same = 0;
        memcpy(digest, mine.digest, 16);
        free_items(&s);
        free_items(&t);
        return same;
    }
    if (!digest_payload(x, n, &mine)) return 0;
    memcpy(digest, mine.digest, 16);
    if (kind == KIND_OTHER && m > 11 + mine.entries_size && n > 11 + mine.entries_size && !memcmp(x + 1, y + 1, mine.entries_size)) {
        reader q = {y + 1, y + m - 10, 0};
        items t = {0};
        memset(&theirs, 0, sizeof theirs);
        stream(&q, y[0], &t, &theirs, &mine.entries, mine.entries_size);
        free_items(&t);
        if (q.bad) return 0;
    } else if (!digest_payload(y, m, &theirs)) return 0;
    if (memcmp(mine.digest, theirs.digest, 16)) return 0;
    if (mine.has_facts && theirs.has_facts)
        return mine.fact_count == theirs.fact_count && !memcmp(mine.facts, theirs.facts, (size_t)mine.fact_count * 8);
    return 1;
}
/* ---- comparing ---- */
static int compare_values(const entry *e, uint8_t digest[16]) {
    const uint8_t *x = e->value[0], *y = e->value[1];
    size_t n = e->value_size[0], m = e->value_size[1];
    if (e->got_value == E_GET || e->got_value == E_MGET) { /* plain strings on both sides */
        if (n != m || memcmp(x, y, n)) return 0;
        digest_string(x, n, digest);
        return 1;
    }
    /* Up to type 21 equal bytes of one type mean equal values on every server (payload.py). */
    if (n == m && n > 10 && x[0] <= 21 && !memcmp(x, y, n - 10)) {
        outline mine;
        if (!digest_payload(x, n, &mine)) return 0;
        memcpy(digest, mine.digest, 16);
        return 1;
    }
    return same_value(x, n, y, m, digest);
}
static void judge(pump *p, entry *e) {
    if (e->flags & F_LISTED) { finish(p, e, 0); return; }
    int digested = e->got_value == E_ARRAY, there = digested || (e->value[0] && e->value[1]);
    if (!digested && !e->value[0] && !e->value[1]) { finish(p, e, 1); return; } /* gone on both sides */
    int64_t mine = e->expires_ms[0], theirs = e->expires_ms[1];
    uint8_t digest[16], d[16];
    int equal = there && (mine < 0) == (theirs < 0) && mine != NO_KEY && theirs != NO_KEY;
    if (equal && mine >= 0) {
        int64_t distance = theirs - mine - p->skew_ms;
        if (distance < 0) distance = -distance;
        equal = distance <= p->tolerance_ms && !(e->flags & F_SLACK);
    }
    if (equal && digested) { memcpy(digest, e->digest[0], 16); equal = !memcmp(digest, e->digest[1], 16); }
    else if (equal) equal = compare_values(e, digest);
    if (!equal) { put_on_list(p, e, WHY_SUSPECT, "", 0); finish(p, e, 0); return; }
    if (e->flags & F_AGAIN) { finish(p, e, 1); return; }
    blake b;
    char text[24];
    blake_start(&b);
    blake_part(&b, text, number_text(text, (uint64_t)p->database));
    blake_part(&b, key_of(p, e), e->key_size);
    blake_part(&b, digest, 16);
    if (mine >= 0) blake_part(&b, "expires", 7); else blake_part(&b, "stays", 5);
    blake_end(&b, d);
    batch *home = batch_at(p, e->batch_no);
    add128(&home->sum_low, &home->sum_high, d);
    home->equal++;
    p->s.equal++;
    finish(p, e, 1);
}

/* ---- which keys were seen ---- */
/* 62 bits of a key's mark and, in the two highest, which sides had it. */
#define MARK_BITS ((1ULL << 62) - 1)
typedef struct { uint64_t *slots, mask, count, seed, only_other; int full, other_full; } seen;
seen *rm_seen_new(uint64_t expected, uint64_t seed) {
    uint64_t size = 1 << 12;
    while (size * 3 / 4 < expected) size *= 2;
    seen *s = calloc(1, sizeof *s);
    s->slots = calloc(size, sizeof *s->slots);
    s->mask = size - 1;
    s->seed = seed;
    if (!s->slots) s->full = 1;
    return s;
}
void rm_seen_free(seen *s) { if (s) { free(s->slots); free(s); } }
int rm_seen_whole(seen *s) { return !s->full; }
/* Every key that side 1's scans met was met on side 0 too. */
int rm_seen_covers(seen *s) { return !s->full && !s->other_full && !s->only_other; }
static uint64_t mark_of(const seen *s, const uint8_t *key, size_t size) {
    lanes l;
    lanes_start(&l);
    l.a ^= s->seed;
    mix(&l, key, size);
    l.a &= MARK_BITS;
    return l.a ? l.a : 1;
}
static uint64_t slot_for(const seen *s, uint64_t mark) {
    uint64_t i = mark & s->mask;
    while (s->slots[i] && (s->slots[i] & MARK_BITS) != mark) i = (i + 1) & s->mask;
    return i;
}
static int seen_add(void *set, const uint8_t *key, size_t size, int side) { /* 1: this side had it already */
    seen *s = set;
    if (s->full) return 0;
    uint64_t mark = mark_of(s, key, size), flag = 1ULL << (62 + side), *slot = &s->slots[slot_for(s, mark)];
    if (*slot) {
        if (*slot & flag) return 1;
        if (side == 0) s->only_other--;
        *slot |= flag;
    } else if (side && s->count > s->mask / 4 * 3) s->other_full = 1; /* the room is side 0's */
    else if (s->count > s->mask / 8 * 7) s->full = 1;
    else {
        *slot = mark | flag;
        s->count++;
        s->only_other += (uint64_t)side;
    }
    return 0;
}
static int seen_has(const seen *s, const uint8_t *key, size_t size) {
    return (int)(s->slots[slot_for(s, mark_of(s, key, size))] >> 62 & 1);
}

/* ---- asking ---- */
static line *line_for(pump *p, entry *e) {
    if (p->line_count == 1) { e->line_no = 0; return p->side1; }
    uint16_t slot = slot_of(key_of(p, e), e->key_size);
    e->line_no = (uint8_t)p->line_of_slot[slot];
    return &p->side1[e->line_no];
}
static void put_keyed(pump *p, line *l, const char *head, size_t head_size, const entry *e) {
    size_t size = e->bulk_head + (size_t)e->key_size + 2;
    need(&l->out, head_size + size);
    put(&l->out, head, head_size);
    put(&l->out, key_of(p, e) - e->bulk_head, size);
}
/* The bulks of keys `from` up to `to`, whatever line they live on. */
static void put_keys(pump *p, line *l, uint64_t from, uint64_t to) {
    for (uint64_t s = from; s < to;) {
        const entry *e = entry_at(p, s);
        uint64_t batch_no = e->batch_no;
        const uint8_t *begin = key_of(p, e) - e->bulk_head, *end = begin;
        for (; s < to && (e = entry_at(p, s))->batch_no == batch_no; s++) end = key_of(p, e) + e->key_size + 2; /* side by side */
        need(&l->out, (size_t)(end - begin));
        put(&l->out, begin, (size_t)(end - begin));
    }
}
#define GET "*2\r\n$3\r\nGET\r\n"
#define TYPE "*2\r\n$4\r\nTYPE\r\n"
#define HGETALL "*2\r\n$7\r\nHGETALL\r\n"
#define SMEMBERS "*2\r\n$8\r\nSMEMBERS\r\n"
#define LRANGE "*4\r\n$6\r\nLRANGE\r\n"
static void ask_states(pump *p, line *l, int line_no, uint64_t from, uint64_t to, int value) {
    /* line_no < 0: side 0, every entry; else only the entries that live there */
    int all = line_no < 0 || p->line_count == 1;
#define EACH for (uint64_t s = from; s < to; s++) { entry *e = entry_at(p, s); if (!all && e->line_no != line_no) continue;
    if (!l->absolute) put_time(l, E_TIME_BEFORE, from, (uint32_t)(to - from));
    EACH
        if (l->absolute) put_keyed(p, l, HEAD(PEXPIRETIME), e);
        else put_keyed(p, l, HEAD(PTTL), e);
        if (!all) expect(l, E_TTL, s, 1);
    }
    if (all) expect(l, E_TTL, from, (uint32_t)(to - from));
    if (!l->absolute) put_time(l, E_TIME_AFTER, from, (uint32_t)(to - from));
    if (value == E_TYPE && line_no >= 0) return; /* side 0's type decides how both are read */
    if (value == E_MGET && l->mget) { /* one server, so every entry */
        need(&l->out, 64);
        put_length(&l->out, '*', to - from + 1);
        put(&l->out, "$4\r\nMGET\r\n", 10);
        put_keys(p, l, from, to);
        expect(l, E_MGET, from, (uint32_t)(to - from));
        return;
    }
    EACH
        if (value == E_MGET) put_keyed(p, l, HEAD(GET), e);
        else if (value == E_TYPE) put_keyed(p, l, HEAD(TYPE), e);
        else put_keyed(p, l, HEAD(DUMP), e);
        expect(l, value == E_MGET ? E_GET : (uint8_t)value, s, 0);
    }
#undef EACH
}
static void ask_value(pump *p, uint64_t seq) {
    entry *e = entry_at(p, seq);
    for (int side = 0; side < 2; side++) {
        line *l = side ? &p->side1[e->line_no] : &p->side0;
        switch (e->kind) {
        case KIND_STRING: e->got_value = E_GET; put_keyed(p, l, HEAD(GET), e); break;
        case KIND_LIST: e->got_value = E_ARRAY; put_keyed(p, l, HEAD(LRANGE), e); break;
        case KIND_SET: e->got_value = E_ARRAY; put_keyed(p, l, HEAD(SMEMBERS), e); break;
        case KIND_HASH:
            e->got_value = p->hash_by_dump ? E_DUMP : E_ARRAY;
            if (p->hash_by_dump) put_keyed(p, l, HEAD(DUMP), e);
            else put_keyed(p, l, HEAD(HGETALL), e);
            break;
        default: e->got_value = E_DUMP; put_keyed(p, l, HEAD(DUMP), e);
        }
        need(&l->out, 64);
        if (e->kind == KIND_LIST) put(&l->out, "$1\r\n0\r\n$2\r\n-1\r\n", 15);
        expect(l, e->got_value, seq, 0);
    }
}
static void ask_exists(pump *p, uint64_t from, uint64_t to) {
    /* One EXISTS of many keys where one server has them all; one each where slots decide. */
    if (p->line_count == 1 && !p->line_of_slot) {
        line *l = p->side1;
        need(&l->out, 64);
        put_length(&l->out, '*', to - from + 1);
        put(&l->out, "$6\r\nEXISTS\r\n", 12);
        put_keys(p, l, from, to);
        expect(l, E_EXISTS, from, (uint32_t)(to - from));
        return;
    }
    for (uint64_t s = from; s < to; s++) {
        entry *e = entry_at(p, s);
        line *l = line_for(p, e);
        put_keyed(p, l, HEAD("*2\r\n$6\r\nEXISTS\r\n"), e);
        expect(l, E_EXISTS, s, 1);
    }
}
static void ask_scan(pump *p, line *l, const char *cursor) {
    char text[200], count[24];
    size_t n = number_text(count, (uint64_t)p->scan_count);
    int size = snprintf(text, sizeof text, "*4\r\n$4\r\nSCAN\r\n$%zu\r\n%s\r\n$5\r\nCOUNT\r\n$%zu\r\n%.*s\r\n",
        strlen(cursor), cursor, n, (int)n, count);
    need(&l->out, (size_t)size);
    put(&l->out, text, (size_t)size);
    expect(l, E_SCAN, 0, 0);
}
static void refresh(pump *p) {
    p->s.queued = (int64_t)(p->tail - p->next);
    p->s.in_flight = (int64_t)(p->next - p->head);
    p->s.list_length = (int64_t)(p->list_tail - p->list_head);
    p->s.finished = p->s.scan_finished && p->head == p->tail && !p->s.list_length && p->batch_head == p->batch_tail
        && (!p->scans_other || p->s.other_finished);
}
/* Give the servers as much work as the windows allow. */
void rm_work(pump *p) {
    refresh(p);
    int64_t mean = (int64_t)p->s.mean_bytes + 64;
    int64_t ahead = AHEAD_KEYS > 2 * p->scan_count ? AHEAD_KEYS : 2 * p->scan_count;
    if (p->scans_other && !p->s.other_finished && !p->other_outstanding
        && (p->s.scan_finished || p->s.other_scanned < p->s.done + ahead)) {
        ask_scan(p, &p->other, p->other_cursor);
        p->other_outstanding = 1;
    }
    for (;;) {
        int64_t queued = (int64_t)(p->tail - p->next);
        int64_t wanted = p->max_in_flight > p->scan_count ? p->max_in_flight : p->scan_count;
        if (!p->scan_outstanding && !p->s.scan_finished && queued < wanted && p->s.list_length < 20000) {
            ask_scan(p, &p->scan, p->cursor);
            p->scan_outstanding = 1;
        }
        if (!queued || p->s.list_length > 10000) break;
        int64_t reading = (int64_t)(p->next - p->head);
        int64_t allowed = p->max_bytes / mean;
        if (allowed > p->max_in_flight) allowed = p->max_in_flight;
        /* Without a mean to begin with, the first values tell how many may be on their way. */
        if (!p->mean_given && allowed > 64 + 2 * p->s.done) allowed = 64 + 2 * p->s.done;
        if (allowed < 8) allowed = 8;
        int64_t room = allowed - reading, m = queued < room ? queued : room;
        int64_t most = p->mode == MODE_EXISTS ? 500 : GROUP;
        if (m > most) m = most;
        int64_t least = allowed / 4 < 64 ? allowed / 4 : 64; /* no tiny groups while others are on their way */
        if (m <= 0 || (m < least && m < queued && reading > 0)) break;
        uint64_t from = p->next, to = from + (uint64_t)m;
        p->next = to;
        if (p->mode == MODE_EXISTS && p->seen) {
            for (uint64_t s = from; s < to; s++) {
                entry *e = entry_at(p, s);
                int there = seen_has(p->seen, key_of(p, e), e->key_size);
                if (there) p->s.equal++;
                else put_on_list(p, e, WHY_MISSING, "", 0);
                finish(p, e, there);
            }
        } else if (p->mode == MODE_EXISTS) {
            ask_exists(p, from, to);
        } else {
            int value = p->recent_strings >= 1000 ? E_MGET : p->s.mean_bytes > TYPED_ABOVE_BYTES ? E_TYPE : E_DUMP;
            for (uint64_t s = from; s < to; s++) { entry *e = entry_at(p, s); e->got_value = (uint8_t)value; line_for(p, e); }
            ask_states(p, &p->side0, -1, from, to, value);
            for (int i = 0; i < p->line_count; i++) {
                if (p->line_count > 1) {
                    int any = 0;
                    for (uint64_t s = from; s < to && !any; s++) any = entry_at(p, s)->line_no == i;
                    if (!any) continue;
                }
                ask_states(p, &p->side1[i], i, from, to, value);
            }
        }
    }
    refresh(p);
}

/* ---- answers ---- */
static void got_value(pump *p, int side, const expected *x, const uint8_t *data, size_t size, int nil) {
    entry *e = entry_at(p, x->seq);
    if (side == 0 && !nil) {
        p->s.payload_bytes += (int64_t)size;
        p->s.mean_bytes += ((double)size - p->s.mean_bytes) / 32;
        if (x->kind == E_DUMP) { if (!data[0]) p->recent_strings++; else p->recent_strings = 0; }
    }
    e->got[side] = 1;
    e->value_size[side] = size;
    if (e->got[!side]) { /* the second of the two is compared where it lies */
        e->value[side] = nil ? NULL : (uint8_t *)(uintptr_t)data;
        e->borrowed = (uint8_t)(1 + side);
        judge(p, e);
    } else if (!nil) {
        e->value[side] = value_room(p, size);
        memcpy(e->value[side], data, size);
    }
}
static void got_error(pump *p, int side, const expected *x, const char *text, size_t size, int why) {
    if (x->kind == E_TIME_BEFORE || x->kind == E_TIME_AFTER || x->kind == E_SCAN) { p->s.failed = 1; return; }
    uint64_t from = x->seq, to = x->kind == E_EXISTS ? from + x->count : from + 1;
    for (uint64_t s = from; s < to; s++) {
        if (s < p->head) continue;
        entry *e = entry_at(p, s);
        if (!(e->flags & F_LISTED)) put_on_list(p, e, why, text, size);
        if (x->kind == E_TTL) continue; /* its value is still to come */
        if (x->kind == E_TYPE) { finish(p, e, 0); continue; } /* no value will follow */
        if (p->mode != MODE_COMPARE) { finish(p, e, 0); continue; }
        e->got[side] = 1;
        if (e->got[0] && e->got[1]) judge(p, e);
    }
}
static void got_type(pump *p, const expected *x, const uint8_t *word, size_t size) {
    entry *e = entry_at(p, x->seq);
#define IS(text) (size == sizeof text - 1 && !memcmp(word, text, size))
    e->kind = IS("none") ? KIND_NONE : IS("string") ? KIND_STRING : IS("list") ? KIND_LIST : IS("set") ? KIND_SET
        : IS("zset") ? KIND_ZSET : IS("hash") ? KIND_HASH : KIND_OTHER;
#undef IS
    if (e->kind == KIND_STRING) p->recent_strings++; else p->recent_strings = 0;
    if (e->flags & F_LISTED) finish(p, e, 0);
    else if (e->kind == KIND_NONE) { put_on_list(p, e, WHY_SUSPECT, "", 0); finish(p, e, 0); } /* went away */
    else ask_value(p, x->seq);
}
static void got_element(line *l, int kind, const uint8_t *data, size_t size) {
    l->array_bytes += (int64_t)size;
    int second = (int)(l->array_index & 1);
    switch (kind) {
    case KIND_LIST: mix(&l->run, data, size); break;
    case KIND_SET: lanes_start(&l->element); mix(&l->element, data, size); add_element(&l->run, &l->element); break;
    case KIND_HASH:
        if (!second) lanes_start(&l->element);
        mix(&l->element, data, size);
        if (second) add_element(&l->run, &l->element);
        break;
    }
}
static void got_expiry(pump *p, line *l, int side, uint64_t seq, int64_t value) {
    if (seq < p->head) return; /* given up already: side 0 said that it has no such key */
    entry_at(p, seq)->expires_ms[side] = value >= 0 && !l->absolute ? l->time_ms + value : value;
}
static void got_count(pump *p, const expected *x, int64_t value) { /* EXISTS */
    for (uint64_t s = x->seq; s < x->seq + x->count; s++) {
        entry *e = entry_at(p, s);
        if (value == (int64_t)x->count) { p->s.equal++; finish(p, e, 1); }
        else { put_on_list(p, e, WHY_MISSING, "", 0); finish(p, e, 0); }
    }
}
/* A mark, a number and the end of the line: returns what follows, NULL when not all is there; *n -2 for anything else. */
static inline const uint8_t *header(const uint8_t *p, const uint8_t *end, int64_t *n) {
    const uint8_t *q = p + 1;
    uint64_t v = 0;
    int negative = q < end && *q == '-';
    for (q += negative; q < end && (uint8_t)(*q - '0') <= 9; q++) v = v * 10 + (uint64_t)(*q - '0');
    if (q < end && *q != '\r') { *n = -2; return q; }
    if (end - q < 2) return NULL;
    *n = negative ? -(int64_t)v : (int64_t)v;
    return q + 2;
}
static int scan_reply(pump *p, line *l) { /* 1: go on, 0: more bytes needed */
    buffer *b = &l->in;
    int other = l == &p->other;
    char *cursor = other ? p->other_cursor : p->cursor;
    for (;;) {
        const uint8_t *at = b->data + b->from, *end = b->data + b->to, *body;
        int64_t n;
        if (at >= end || !(body = header(at, end, &n))) return 0;
        switch (l->scan_phase) {
        case 0:
            if (*at == '-') { p->s.failed = 2; return 0; }
            if (*at != '*' || n != 2) { p->s.failed = 1; return 0; }
            b->from = (size_t)(body - b->data);
            l->scan_phase = 1;
            break;
        case 1:
            if (*at != '$' || n < 1 || n > 22) { p->s.failed = 1; return 0; }
            if (end - body < n + 2) return 0;
            memcpy(cursor, body, (size_t)n);
            cursor[n] = 0;
            b->from = (size_t)(body + n + 2 - b->data);
            l->scan_phase = 2;
            break;
        case 2: {
            if (*at != '*') { p->s.failed = 1; return 0; }
            if (!other) memcpy(new_batch(p)->cursor, cursor, sizeof p->cursor);
            l->scan_left = n;
            b->from = (size_t)(body - b->data);
            l->scan_phase = 3;
            break;
        }
        default:
            if (*at != '$' || n < 0) { p->s.failed = 1; return 0; }
            if (end - body < n + 2) return 0;
            if (other) { seen_add(p->seen, body, (size_t)n, 1); p->s.other_scanned++; }
            else new_entry(p, at, (size_t)(body - at) + (size_t)n + 2, (size_t)(body - at));
            b->from = (size_t)(body + n + 2 - b->data);
            l->scan_left--;
        }
        if (l->scan_phase == 3 && !l->scan_left) {
            l->scan_phase = 0;
            int64_t last = cursor[0] == '0' && !cursor[1];
            if (other) { p->other_outstanding = 0; p->s.other_finished = last; return 1; }
            batch_at(p, p->batch_tail - 1)->complete = 1;
            p->scan_outstanding = 0;
            p->s.scan_finished = last;
            settle_batches(p);
            return 1;
        }
    }
}
/* HGETALL and the like, element by element, and MGET. 1: done, 0: more bytes needed. */
static int array_reply(pump *p, line *l, int side, const expected *x) {
    buffer *b = &l->in;
    static const char *const WORDS[] = {"", "", "string", "list", "set", "zset", "hash", ""};
    entry *e = entry_at(p, x->seq);
    const uint8_t *eol;
    if (!l->array_open) {
        const uint8_t *at = b->data + b->from, *end = b->data + b->to;
        if (at >= end || !(eol = line_end(at, end))) return 0;
        b->from = (size_t)(eol + 2 - b->data);
        if (*at == '-') { got_error(p, side, x, (const char *)at + 1, (size_t)(eol - at - 1), WHY_ERROR); return 1; }
        if (*at != '*') { p->s.failed = 1; return 0; }
        l->array_left = integer(at + 1, eol);
        l->array_index = l->array_bytes = 0;
        l->array_open = 1;
        if (e->kind == KIND_SET || e->kind == KIND_HASH) memset(&l->run, 0, sizeof l->run);
        else lanes_start(&l->run);
        if (x->kind == E_MGET && l->array_left != (int64_t)x->count) { p->s.failed = 1; return 0; }
        if (x->kind == E_ARRAY && l->array_left <= 0 && !(e->flags & F_LISTED)) put_on_list(p, e, WHY_SUSPECT, "", 0); /* went away */
    }
    while (l->array_left > 0) {
        const uint8_t *at = b->data + b->from, *end = b->data + b->to;
        if (l->skip) return 0;
        const uint8_t *body;
        int64_t n;
        if (at >= end || !(body = header(at, end, &n))) return 0;
        if (*at != '$' || n < -1) { p->s.failed = 1; return 0; }
        if (n > p->big_bytes) {
            b->from = (size_t)(body - b->data);
            l->skip = (size_t)n + 2;
            if (x->kind == E_MGET) {
                expected one = {E_GET, 1, x->seq + (uint64_t)l->array_index};
                l->array_index++; l->array_left--;
                got_error(p, side, &one, "", 0, WHY_BIG);
            } else {
                if (!(e->flags & F_LISTED)) put_on_list(p, e, WHY_BIG, "", 0);
                l->array_index++; l->array_left--;
            }
            size_t have = b->to - b->from, now = have < l->skip ? have : l->skip;
            b->from += now;
            l->skip -= now;
            if (l->skip) return 0;
            continue;
        }
        if (n >= 0 && end - body < n + 2) return 0;
        b->from = (size_t)((n >= 0 ? body + n + 2 : body) - b->data);
        if (x->kind == E_MGET) {
            expected one = {E_GET, 1, x->seq + (uint64_t)l->array_index};
            entry *each = entry_at(p, one.seq);
            if (n < 0 && each->expires_ms[side] != NO_KEY) { /* there, and no string (or it came or went just now) */
                p->recent_strings = 0;
                got_error(p, side, &one, "", 0, WHY_SUSPECT);
            } else got_value(p, side, &one, body, n < 0 ? 0 : (size_t)n, n < 0);
        } else {
            if (n < 0) { p->s.failed = 1; return 0; }
            got_element(l, e->kind, body, (size_t)n);
        }
        l->array_index++;
        l->array_left--;
    }
    l->array_open = 0;
    if (x->kind == E_MGET) return 1;
    end_value(&l->run, WORDS[e->kind], e->digest[side]);
    if (side == 0) {
        p->s.payload_bytes += l->array_bytes;
        p->s.mean_bytes += ((double)l->array_bytes - p->s.mean_bytes) / 32;
    }
    e->got[side] = 1;
    if (e->got[0] && e->got[1]) judge(p, e);
    return 1;
}
static void parse(pump *p, line *l, int side, int line_no) {
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
        expected *front = &f->items[f->head & f->mask];
        if (front->kind == E_TTL && *at == ':') { /* one after the other, as they were asked */
            int64_t n;
            const uint8_t *after = header(at, end, &n);
            if (!after) return;
            b->from = (size_t)(after - b->data);
            got_expiry(p, l, side, front->seq, n);
            front->seq++;
            if (!--front->count) f->head++;
            continue;
        }
        expected x = *front;
        if (x.kind == E_SCAN) {
            if (!scan_reply(p, l)) return;
        } else if (x.kind == E_ARRAY || x.kind == E_MGET) {
            if (!array_reply(p, l, side, &x)) return;
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
                    if (s >= p->head && (side == 0 || e->line_no == line_no) && e->expires_ms[side] >= 0) e->flags |= F_SLACK;
                }
        } else {
            if (!(eol = line_end(at, end))) return;
            if (*at == '$') {
                int64_t n = integer(at + 1, eol);
                const uint8_t *body = eol + 2;
                if (x.kind != E_DUMP && x.kind != E_GET) { p->s.failed = 1; return; }
                if (n < 0) {
                    b->from = (size_t)(body - b->data);
                    got_value(p, side, &x, NULL, 0, 1);
                } else if (n > p->big_bytes) {
                    b->from = (size_t)(body - b->data);
                    l->skip = (size_t)n + 2;
                    got_error(p, side, &x, "", 0, WHY_BIG);
                } else {
                    if (end - body < n + 2) return;
                    b->from = (size_t)(body + n + 2 - b->data);
                    got_value(p, side, &x, body, (size_t)n, 0);
                }
            } else if (*at == ':') {
                if (x.kind != E_EXISTS) { p->s.failed = 1; return; }
                b->from = (size_t)(eol + 2 - b->data);
                got_count(p, &x, integer(at + 1, eol));
            } else if (*at == '+' && x.kind == E_TYPE) {
                b->from = (size_t)(eol + 2 - b->data);
                got_type(p, &x, at + 1, (size_t)(eol - at - 1));
            } else if (*at == '-') {
                b->from = (size_t)(eol + 2 - b->data);
                got_error(p, side, &x, (const char *)at + 1, (size_t)(eol - at - 1), WHY_ERROR);
                if (x.kind == E_TTL && x.count > 1) { front->seq++; front->count--; continue; }
            } else { p->s.failed = 1; return; }
        }
        f->head++;
    }
}

/* ---- what Python calls ---- */
pump *rm_new(int mode, int line_count, const uint16_t *line_of_slot, int absolute0, int absolute1, const char *cursor) {
    pump *p = new_pump(line_count, line_of_slot, cursor);
    p->mode = mode;
    p->side0.absolute = absolute0;
    for (int i = 0; i < line_count; i++) p->side1[i].absolute = absolute1;
    strcpy(p->other_cursor, "0");
    return p;
}
void rm_limits(pump *p, int64_t scan_count, int64_t in_flight, int64_t bytes, int64_t big) {
    p->scan_count = scan_count; p->max_in_flight = in_flight; p->max_bytes = bytes; p->big_bytes = big;
}
void rm_compare_with(pump *p, int64_t skew_ms, int64_t tolerance_ms, int database, int hash_by_dump, int mget0, int mget1) {
    p->skew_ms = skew_ms; p->tolerance_ms = tolerance_ms; p->database = database; p->hash_by_dump = hash_by_dump;
    p->side0.mget = mget0;
    p->side1[0].mget = mget1 && p->line_count == 1;
}
void rm_mean_bytes(pump *p, double bytes) { p->s.mean_bytes = bytes; p->mean_given = bytes > 0; }
void rm_use_seen(pump *p, seen *s, int scan_other) { p->seen = s; p->scans_other = scan_other; }
static line *line_at(pump *p, int no) { return no == -3 ? &p->other : no == -2 ? &p->scan : no == -1 ? &p->side0 : &p->side1[no]; }
void rm_received(pump *p, int no, size_t size) {
    line *l = line_at(p, no);
    l->in.to += size;
    parse(p, l, no < 0 ? 0 : 1, no);
}
void rm_rare_equal(pump *p, uint64_t batch_no, const uint8_t digest[16]) { /* Python found it equal: before rm_rare_done */
    batch *home = batch_at(p, batch_no);
    add128(&home->sum_low, &home->sum_high, digest);
    home->equal++;
    p->s.equal++;
}
static int64_t now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}
/* Plain sockets alone, for `ms` at the most. Returns the number of the broken one (from 1), 0 when there is something for
 * Python or the time is over. `moved`: bytes went or came. */
int rm_run(pump *p, const int *sockets, const int *numbers, int count, int ms, int rare_at_once, int *moved) {
    struct pollfd polls[256];
    int64_t until = now_ms() + ms;
    *moved = 0;
    if (count > 256) return 0;
    for (;;) {
        rm_work(p);
        for (int i = 0; i < count; i++) {
            buffer *o = &line_at(p, numbers[i])->out;
            polls[i] = (struct pollfd){sockets[i], POLLIN, 0};
            while (o->from < o->to) {
                size_t size = o->to - o->from < SEND_BYTES ? o->to - o->from : SEND_BYTES;
                ssize_t sent = send(sockets[i], o->data + o->from, size, MSG_NOSIGNAL);
                if (sent < 0 && errno == EINTR) continue;
                if (sent < 0 && errno != EAGAIN && errno != EWOULDBLOCK) return i + 1;
                if (sent < 0) { polls[i].events |= POLLOUT; break; }
                rm_sent(p, numbers[i], (size_t)sent);
                *moved = 1;
            }
        }
        int idle = p->s.scan_finished && !p->s.in_flight && !p->s.queued;
        if (p->s.finished || p->s.failed || (p->s.list_length && (idle || p->s.list_length >= rare_at_once))) return 0;
        int64_t left = until - now_ms();
        if (left <= 0 || poll(polls, (nfds_t)count, (int)left) <= 0) return 0;
        for (int i = 0; i < count; i++) {
            if (!(polls[i].revents & ~POLLOUT)) continue;
            uint8_t *room;
            size_t size = rm_room(p, numbers[i], RECEIVE_BYTES, &room);
            ssize_t received = recv(sockets[i], room, size, 0);
            if (received == 0 || (received < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)) return i + 1;
            if (received < 0) continue;
            rm_received(p, numbers[i], (size_t)received);
            *moved = 1;
        }
    }
}
void rm_free(pump *p) {
    if (!p) return;
    for (uint64_t s = p->head; s < p->tail; s++)
        for (int side = 0; side < 2; side++)
            if (entry_at(p, s)->state != 2 && entry_at(p, s)->value_size[side] > SMALL) free(entry_at(p, s)->value[side]);
    while (p->slabs) {
        void *next;
        memcpy(&next, p->slabs, sizeof next);
        free(p->slabs);
        p->slabs = next;
    }
    free_line(&p->other);
    free_shared(p);
}
