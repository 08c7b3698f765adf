/*
 * What the compiled loops share of walking over keys: what SCAN gave, in batches that are settled in order; entries that
 * are asked for and answered; the list for Python; and the side that Python calls.
 *
 * Included once, after the types `line`, `batch`, `entry`, `stats` and `pump`, which have fields of their own in each loop.
 */
static void settle_batches(pump *p); /* a loop keeps more or less of a settled batch */
static line *line_at(pump *p, int no);

/* A ring of items of `size` bytes, twice as long; `first` items long where there is none yet. */
static void *doubled(void *items, size_t size, uint64_t head, uint64_t tail, uint64_t *mask, uint64_t first) {
    uint64_t count = items ? (*mask + 1) * 2 : first;
    uint8_t *ring = malloc(count * size);
    for (uint64_t i = head; i < tail; i++)
        memcpy(ring + (i & (count - 1)) * size, (uint8_t *)items + (i & *mask) * size, size);
    free(items);
    *mask = count - 1;
    return ring;
}
static void expect(line *l, uint8_t kind, uint64_t seq, uint32_t count) {
    fifo *f = &l->expects;
    if (f->tail - f->head > f->mask || !f->items)
        f->items = doubled(f->items, sizeof *f->items, f->head, f->tail, &f->mask, 1024);
    f->items[f->tail++ & f->mask] = (expected){kind, count, seq};
}
static entry *entry_at(pump *p, uint64_t seq) { return &p->entries[seq & p->mask]; }
static batch *batch_at(pump *p, uint64_t no) { return &p->batches[no & p->batch_mask]; }
static const uint8_t *key_of(pump *p, const entry *e) { return batch_at(p, e->batch_no)->keys + e->key_at; }
static void batch_done(pump *p, uint64_t no) {
    batch *b = batch_at(p, no);
    b->remaining--;
    if (!b->remaining && no == p->batch_head) settle_batches(p);
}
static batch *new_batch(pump *p) {
    if (p->batch_tail - p->batch_head > p->batch_mask || !p->batches)
        p->batches = doubled(p->batches, sizeof *p->batches, p->batch_head, p->batch_tail, &p->batch_mask, 64);
    batch *b = &p->batches[p->batch_tail++ & p->batch_mask];
    memset(b, 0, sizeof *b);
    return b;
}
/* A new key of the newest batch; it takes `size` bytes there, which the caller fills. */
static entry *new_entry_of(pump *p, size_t size, uint8_t **room) {
    if (p->tail - p->head > p->mask || !p->entries)
        p->entries = doubled(p->entries, sizeof *p->entries, p->head, p->tail, &p->mask, 4096);
    batch *b = batch_at(p, p->batch_tail - 1);
    if (b->capacity - b->used < size) {
        size_t capacity = b->capacity ? b->capacity * 2 : 1 << 15;
        while (capacity - b->used < size) capacity *= 2;
        b->keys = realloc(b->keys, capacity);
        b->capacity = capacity;
    }
    entry *e = &p->entries[p->tail++ & p->mask];
    memset(e, 0, sizeof *e);
    e->batch_no = p->batch_tail - 1;
    e->key_at = b->used;
    *room = b->keys + b->used;
    b->used += size;
    b->remaining++;
    p->s.scanned++;
    return e;
}
static void list_key(pump *p, entry *e, int why, const char *text, size_t text_size) {
    if (p->list_tail == p->list_capacity) {
        if (p->list_head > p->list_capacity / 2) {
            memmove(p->list, p->list + p->list_head, (p->list_tail - p->list_head) * sizeof *p->list);
            p->list_tail -= p->list_head;
            p->list_head = 0;
        } else {
            p->list_capacity = p->list_capacity ? p->list_capacity * 2 : 256;
            p->list = realloc(p->list, p->list_capacity * sizeof *p->list);
        }
    }
    rare *r = &p->list[p->list_tail++];
    r->batch_no = e->batch_no;
    r->key_size = e->key_size;
    r->key = malloc(e->key_size + 1);
    memcpy(r->key, key_of(p, e), e->key_size);
    r->why = why;
    if (text_size > sizeof r->text - 1) text_size = sizeof r->text - 1;
    memcpy(r->text, text, text_size);
    r->text[text_size] = 0;
    e->flags |= F_LISTED;
}
static void put_time(line *l, uint8_t kind, uint64_t seq, uint32_t count) {
    need(&l->out, 32);
    put(&l->out, TIME, sizeof TIME - 1);
    expect(l, kind, seq, count);
}
static pump *new_pump(int line_count, const uint16_t *line_of_slot, const char *cursor) {
    crc_table();
    pump *p = calloc(1, sizeof *p);
    p->line_count = line_count;
    p->side1 = calloc((size_t)line_count, sizeof *p->side1);
    if (line_of_slot) {
        p->line_of_slot = malloc(16384 * sizeof *p->line_of_slot);
        memcpy(p->line_of_slot, line_of_slot, 16384 * sizeof *p->line_of_slot);
    }
    snprintf(p->cursor, sizeof p->cursor, "%s", cursor);
    snprintf(p->s.safe_cursor, sizeof p->s.safe_cursor, "%s", cursor);
    return p;
}
static void free_line(line *l) { free(l->in.data); free(l->out.data); free(l->expects.items); }
static void free_shared(pump *p) {
    for (uint64_t i = p->batch_head; i < p->batch_tail; i++) free(batch_at(p, i)->keys);
    while (p->list_head < p->list_tail) free(p->list[p->list_head++].key);
    free_line(&p->scan);
    free_line(&p->side0);
    for (int i = 0; i < p->line_count; i++) free_line(&p->side1[i]);
    free(p->side1); free(p->line_of_slot); free(p->entries); free(p->batches); free(p->list);
    free(p);
}

/* ---- what Python calls, of either loop ---- */
stats *rm_stats(pump *p) { return &p->s; }
size_t rm_out(pump *p, int no, uint8_t **data) {
    buffer *o = &line_at(p, no)->out;
    *data = o->data + o->from;
    return o->to - o->from;
}
void rm_sent(pump *p, int no, size_t size) {
    buffer *o = &line_at(p, no)->out;
    o->from += size;
    shrink(o);
}
size_t rm_room(pump *p, int no, size_t least, uint8_t **data) {
    buffer *b = &line_at(p, no)->in;
    shrink(b);
    need(b, least);
    *data = b->data + b->to;
    return b->capacity - b->to;
}
int rm_next_rare(pump *p, uint8_t **key, uint32_t *size, int *why, uint64_t *batch_no, char **text) {
    if (p->list_head == p->list_tail) { p->list_head = p->list_tail = 0; return 0; }
    rare *r = &p->list[p->list_head++];
    *key = r->key; *size = r->key_size; *why = r->why; *batch_no = r->batch_no; *text = r->text;
    return 1;
}
int rm_due(pump *p, int no) { line *l = line_at(p, no); return l->expects.head != l->expects.tail || l->skip; }
void rm_free_key(uint8_t *key) { free(key); }
void rm_rare_done(pump *p, uint64_t batch_no) { batch_done(p, batch_no); }
size_t rm_stats_size(void) { return sizeof(stats); }
