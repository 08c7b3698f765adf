/*
 * What the compiled loops share of Redis itself: slots of keys, growing buffers, commands written and replies read.
 */
#ifndef REDISMOVE_RESP_H
#define REDISMOVE_RESP_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct { uint8_t *data; size_t from, to, capacity; } buffer;
typedef struct { uint8_t kind; uint32_t count; uint64_t seq; } expected;
typedef struct { expected *items; uint64_t head, tail, mask; } fifo;
typedef struct { uint64_t batch_no; uint8_t *key; uint32_t key_size; int why; char text[160]; } rare; /* for Python */

/* ---- slots ---- */
static uint16_t CRC[256];
static void crc_table(void) {
    if (CRC[1]) return;
    for (int i = 0; i < 256; i++) {
        uint16_t c = (uint16_t)(i << 8);
        for (int j = 0; j < 8; j++) c = (uint16_t)(c & 0x8000 ? (c << 1) ^ 0x1021 : c << 1);
        CRC[i] = c;
    }
}
static uint16_t crc16(const uint8_t *p, size_t n) {
    uint16_t c = 0;
    while (n--) c = (uint16_t)((c << 8) ^ CRC[((c >> 8) ^ *p++) & 255]);
    return c;
}
static uint16_t slot_of(const uint8_t *key, size_t size) {
    const uint8_t *open = memchr(key, '{', size);
    if (open) {
        const uint8_t *end = key + size, *close = memchr(open + 1, '}', (size_t)(end - open - 1));
        if (close && close > open + 1) return crc16(open + 1, (size_t)(close - open - 1)) & 16383;
    }
    return crc16(key, size) & 16383;
}

/* ---- buffers, and commands written to them ---- */
static void need(buffer *b, size_t more) {
    if (b->from == b->to) b->from = b->to = 0;
    if (b->capacity - b->to >= more) return;
    if (b->from) { memmove(b->data, b->data + b->from, b->to - b->from); b->to -= b->from; b->from = 0; }
    if (b->capacity - b->to >= more) return;
    size_t capacity = b->capacity ? b->capacity : 1 << 16;
    while (capacity - b->to < more) capacity *= 2;
    b->data = realloc(b->data, capacity);
    b->capacity = capacity;
}
static void shrink(buffer *b) { /* give back what one big value took */
    if (b->from == b->to && b->capacity > (8u << 20)) { free(b->data); memset(b, 0, sizeof *b); }
}
static inline void put(buffer *b, const void *data, size_t size) { memcpy(b->data + b->to, data, size); b->to += size; }
static inline size_t number_text(char *out, uint64_t value) {
    char tmp[24]; size_t n = 0;
    do { tmp[n++] = (char)('0' + value % 10); value /= 10; } while (value);
    for (size_t i = 0; i < n; i++) out[i] = tmp[n - 1 - i];
    return n;
}
static inline void put_length(buffer *b, char mark, uint64_t value) {
    char text[26]; size_t n;
    text[0] = mark;
    n = 1 + number_text(text + 1, value);
    text[n++] = '\r'; text[n++] = '\n';
    put(b, text, n);
}
static inline void put_bulk(buffer *b, const void *data, size_t size) {
    put_length(b, '$', size);
    put(b, data, size);
    put(b, "\r\n", 2);
}
#define TIME "*1\r\n$4\r\nTIME\r\n"
#define PTTL "*2\r\n$4\r\nPTTL\r\n"
#define PEXPIRETIME "*2\r\n$11\r\nPEXPIRETIME\r\n"
#define DUMP "*2\r\n$4\r\nDUMP\r\n"
#define HEAD(text) text, sizeof text - 1

/* ---- replies ---- */
/* Finds "\r\n"; returns NULL when it is not there yet. */
static const uint8_t *line_end(const uint8_t *p, const uint8_t *end) {
    while (p < end) {
        const uint8_t *cr = memchr(p, '\r', (size_t)(end - p));
        if (!cr || cr + 1 >= end) return NULL;
        if (cr[1] == '\n') return cr;
        p = cr + 1;
    }
    return NULL;
}
static int64_t integer(const uint8_t *p, const uint8_t *end) {
    int negative = p < end && *p == '-';
    int64_t v = 0;
    for (p += negative; p < end; p++) v = v * 10 + (*p - '0');
    return negative ? -v : v;
}
static int64_t time_reply(const uint8_t *p, const uint8_t *end, const uint8_t **after) { /* ms, or -1: more needed */
    int64_t parts[2];
    const uint8_t *eol = line_end(p, end);
    if (!eol) return -1;
    p = eol + 2;
    for (int i = 0; i < 2; i++) {
        if (p >= end || !(eol = line_end(p, end))) return -1;
        int64_t n = integer(p + 1, eol);
        p = eol + 2;
        if (n < 0 || n > 20 || end - p < n + 2) return -1;
        parts[i] = integer(p, p + n);
        p += n + 2;
    }
    *after = p;
    return parts[0] * 1000 + parts[1] / 1000;
}

#endif
