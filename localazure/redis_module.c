/*
 * What Azure's Redis does and redis-server 7.0 does not, as a module of redis-server.
 *
 * 1. CLIENT PAUSE of Redis 6.0: one form, `CLIENT PAUSE ms`, which holds every client; `CLIENT PAUSE ms WRITE` and
 *    `CLIENT UNPAUSE` (both of 6.2) are answered as 6.0 answers a form it does not know.
 * 2. The face of a cluster on a shard of a geo-secondary. redis-server replicates from outside its cluster only when
 *    it does not run in cluster mode, so such a shard runs without it; the module answers CLUSTER, redirects keys of
 *    other shards with MOVED, and refuses CROSSSLOT and SELECT, as a node in cluster mode does.
 *
 * 3. Redis Enterprise: CONFIG SET answers OK and changes nothing. With `one-slot` (the clustering policy
 *    EnterpriseCluster, where clients see no cluster) commands over several slots are refused but DEL, EXISTS, MGET,
 *    MSET, TOUCH and UNLINK.
 *
 * The pointers of the module interface are fetched by name, so no header of redis is needed to compile this.
 * Arguments: `pause 6.0|6.2 [enterprise [one-slot]]`, or `pause 6.0|6.2 [cluster INDEX IP TLS_PORT_0 PLAIN_PORT_0|0 ID_0 ID_1 ...]`; the number of ids is the
 * number of shards; ports of shard i are the base port + i; slots are spread evenly, as localazure does it.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define SLOTS 16384
#define MAX_SHARDS 32
#define OK 0
#define ERR 1
#define FLAG_SSL 1 /* REDISMODULE_CLIENTINFO_FLAG_SSL */

typedef struct Context Context;
typedef struct Text Text;
typedef struct Filter Filter;
typedef struct Reply Reply;
typedef int (*Command)(Context *, Text **, int);
typedef struct {
    uint64_t version, flags, id;
    char addr[46];
    uint16_t port, db;
} ClientInfo;

static int (*GetApi)(const char *, void *);
static void (*SetModuleAttribs)(Context *, const char *, int, int);
static int (*CreateCommand)(Context *, const char *, Command, const char *, int, int, int);
static void *(*RegisterCommandFilter)(Context *, void (*)(Filter *), int);
static int (*ArgsCount)(Filter *);
static Text *(*ArgGet)(Filter *, int);
static int (*ArgReplace)(Filter *, int, Text *);
static int (*ArgDelete)(Filter *, int);
static int (*ArgInsert)(Filter *, int, Text *);
static Text *(*CreateString)(Context *, const char *, size_t);
static const char *(*StringPtrLen)(const Text *, size_t *);
static int (*ReplyWithError)(Context *, const char *);
static int (*ReplyWithSimpleString)(Context *, const char *);
static int (*ReplyWithStringBuffer)(Context *, const char *, size_t);
static int (*ReplyWithLongLong)(Context *, long long);
static int (*ReplyWithArray)(Context *, long);
static int (*ReplyWithMap)(Context *, long);
static int (*ReplyWithCallReply)(Context *, Reply *);
static Reply *(*Call)(Context *, const char *, const char *, ...);
static const char *(*CallReplyStringPtr)(Reply *, size_t *);
static void (*FreeCallReply)(Reply *);
static int *(*GetCommandKeys)(Context *, Text **, int, int *);
static void (*Free)(void *);
static unsigned long long (*GetClientId)(Context *);
static int (*GetClientInfoById)(void *, uint64_t);

static int pause_is_60;
static int is_enterprise, one_slot;
static int shards; /* 0: not the face of a cluster */
static int self;
static char ip[64], ids[MAX_SHARDS][41];
static int tls_base, plain_base;

static int text_is(const Text *text, const char *word) {
    size_t length;
    const char *start = StringPtrLen(text, &length);
    return length == strlen(word) && !strncasecmp(start, word, length);
}

static int first_slot(int shard) { return (int)(((long)SLOTS * shard + shards - 1) / shards); }
static int last_slot(int shard) { return shard == shards - 1 ? SLOTS - 1 : first_slot(shard + 1) - 1; }

static int slot_of(const Text *key) { /* CRC16/XMODEM of the key, or of its {hash tag} */
    size_t length, i, open, close;
    const char *start = StringPtrLen(key, &length);
    uint16_t crc = 0;
    for (open = 0; open < length && start[open] != '{'; open++) {}
    if (open < length) {
        for (close = open + 1; close < length && start[close] != '}'; close++) {}
        if (close < length && close != open + 1) {
            start += open + 1;
            length = close - open - 1;
        }
    }
    for (i = 0; i < length; i++) {
        crc ^= (uint16_t)((unsigned char)start[i] << 8);
        for (int bit = 0; bit < 8; bit++) crc = (uint16_t)(crc & 0x8000 ? (crc << 1) ^ 0x1021 : crc << 1);
    }
    return crc % SLOTS;
}

static int shard_of(int slot) {
    int shard = 0;
    while (shard < shards - 1 && slot > last_slot(shard)) shard++;
    return shard;
}

static int port_of(Context *context, int shard) {
    ClientInfo info = {.version = 1};
    if (plain_base && GetClientInfoById(&info, GetClientId(context)) == OK && !(info.flags & FLAG_SSL))
        return plain_base + shard;
    return tls_base + shard;
}

/* Filter: replaces the whole command by one of ours. */
static void become(Filter *filter, const char *name, const char *argument) {
    while (ArgsCount(filter) > 1) ArgDelete(filter, 1);
    ArgReplace(filter, 0, CreateString(NULL, name, strlen(name)));
    if (argument) ArgInsert(filter, 1, CreateString(NULL, argument, strlen(argument)));
}

#define CROSSSLOT "CROSSSLOT Keys in request don't hash to the same slot"

static int slot_of_keys(Filter *filter, int *crosses) { /* slot of the last key; -1 for a command without keys */
    Text *argv[1024];
    int argc = ArgsCount(filter), count = 0, slot = -1;
    Text **arguments = argc <= 1024 ? argv : malloc(sizeof(Text *) * (size_t)argc);
    for (int i = 0; i < argc; i++) arguments[i] = ArgGet(filter, i);
    int *keys = GetCommandKeys(NULL, arguments, argc, &count);
    for (int i = 0; keys && i < count; i++) {
        int found = slot_of(arguments[keys[i]]);
        if (slot >= 0 && found != slot) *crosses = 1;
        slot = found;
    }
    if (keys) Free(keys);
    if (arguments != argv) free(arguments);
    return slot;
}

static void filter_enterprise(Filter *filter, int argc) {
    static const char *const over_slots[] = {"del", "exists", "mget", "mset", "touch", "unlink"};
    Text *name = ArgGet(filter, 0);
    if (argc >= 2 && text_is(name, "config") && text_is(ArgGet(filter, 1), "set")) {
        become(filter, "localazure.ok", NULL);
        return;
    }
    if (!one_slot) return;
    for (size_t i = 0; i < sizeof over_slots / sizeof *over_slots; i++)
        if (text_is(name, over_slots[i])) return;
    int crosses = 0;
    slot_of_keys(filter, &crosses);
    if (crosses) become(filter, "localazure.refuse", CROSSSLOT);
}

static void filter_cluster(Filter *filter) {
    int argc = ArgsCount(filter), slot = -1, crosses = 0;
    Text *name = ArgGet(filter, 0);
    if (text_is(name, "cluster")) {
        ArgReplace(filter, 0, CreateString(NULL, "localazure.cluster", 18));
        return;
    }
    if (text_is(name, "info")) {
        ArgReplace(filter, 0, CreateString(NULL, "localazure.info", 15));
        return;
    }
    if (text_is(name, "readonly") || text_is(name, "readwrite")) {
        become(filter, "localazure.ok", NULL);
        return;
    }
    if (text_is(name, "select") && argc == 2 && !text_is(ArgGet(filter, 1), "0")) {
        become(filter, "localazure.refuse", "ERR SELECT is not allowed in cluster mode");
        return;
    }
    slot = slot_of_keys(filter, &crosses);
    if (crosses) {
        become(filter, "localazure.refuse", CROSSSLOT);
    } else if (slot >= 0 && shard_of(slot) != self) {
        char number[16];
        snprintf(number, sizeof number, "%d", slot);
        become(filter, "localazure.moved", number);
    }
}

static void filter(Filter *filter) {
    int argc = ArgsCount(filter);
    if (argc < 1) return;
    if (argc >= 2 && pause_is_60 && text_is(ArgGet(filter, 0), "client")) {
        /* Text of clientCommand() in Redis 6.0, through addReplySubcommandSyntaxError(). */
        if (text_is(ArgGet(filter, 1), "pause") && argc != 3)
            become(filter, "localazure.refuse",
                   "ERR Unknown subcommand or wrong number of arguments for 'PAUSE'. Try CLIENT HELP.");
        else if (text_is(ArgGet(filter, 1), "unpause"))
            become(filter, "localazure.refuse",
                   "ERR Unknown subcommand or wrong number of arguments for 'UNPAUSE'. Try CLIENT HELP.");
        return;
    }
    if (is_enterprise) filter_enterprise(filter, argc);
    if (shards) filter_cluster(filter);
}

static int refuse(Context *context, Text **argv, int argc) {
    return ReplyWithError(context, argc == 2 ? StringPtrLen(argv[1], NULL) : "ERR refused");
}

static int answer_ok(Context *context, Text **argv, int argc) {
    (void)argv, (void)argc;
    return ReplyWithSimpleString(context, "OK");
}

static int moved(Context *context, Text **argv, int argc) {
    char text[128];
    int slot = argc == 2 ? atoi(StringPtrLen(argv[1], NULL)) : 0, shard = shard_of(slot);
    snprintf(text, sizeof text, "MOVED %d %s:%d", slot, ip, port_of(context, shard));
    return ReplyWithError(context, text);
}

static int set_pause(Context *context, Text **argv, int argc) { /* only for the administrator, by ACL */
    if (argc != 2) return ReplyWithError(context, "ERR localazure.clientpause 6.0|6.2");
    pause_is_60 = text_is(argv[1], "6.0");
    return ReplyWithSimpleString(context, "OK");
}

static int set_config(Context *context, Text **argv, int argc) { /* CONFIG SET of the administrator, by ACL */
    if (argc != 3) return ReplyWithError(context, "ERR localazure.configset NAME VALUE");
    Reply *reply = Call(context, "CONFIG", "css", "SET", argv[1], argv[2]);
    if (!reply) return ReplyWithError(context, "ERR wrong CONFIG");
    ReplyWithCallReply(context, reply);
    FreeCallReply(reply);
    return OK;
}

static int info(Context *context, Text **argv, int argc) { /* INFO that says cluster_enabled:1 */
    Reply *reply = Call(context, "INFO", "v", argv + 1, (size_t)(argc - 1));
    size_t length;
    const char *start = reply ? CallReplyStringPtr(reply, &length) : NULL;
    if (!start) return reply ? ReplyWithCallReply(context, reply) : ReplyWithError(context, "ERR wrong INFO");
    char *copy = malloc(length + 1);
    memcpy(copy, start, length);
    copy[length] = 0;
    char *found = strstr(copy, "cluster_enabled:0");
    if (found) found[strlen("cluster_enabled:")] = '1';
    ReplyWithStringBuffer(context, copy, length);
    free(copy);
    FreeCallReply(reply);
    return OK;
}

static void field(Context *context, const char *name) { ReplyWithStringBuffer(context, name, strlen(name)); }

static int cluster(Context *context, Text **argv, int argc) {
    if (argc == 2 && text_is(argv[1], "slots")) {
        ReplyWithArray(context, shards);
        for (int i = 0; i < shards; i++) {
            ReplyWithArray(context, 3);
            ReplyWithLongLong(context, first_slot(i));
            ReplyWithLongLong(context, last_slot(i));
            ReplyWithArray(context, 4);
            field(context, ip);
            ReplyWithLongLong(context, port_of(context, i));
            field(context, ids[i]);
            ReplyWithMap(context, 0);
        }
        return OK;
    }
    if (argc == 2 && text_is(argv[1], "shards")) {
        ReplyWithArray(context, shards);
        for (int i = 0; i < shards; i++) {
            ReplyWithMap(context, 2);
            field(context, "slots");
            ReplyWithArray(context, 2);
            ReplyWithLongLong(context, first_slot(i));
            ReplyWithLongLong(context, last_slot(i));
            field(context, "nodes");
            ReplyWithArray(context, 1);
            ReplyWithMap(context, plain_base ? 8 : 7);
            field(context, "id");
            field(context, ids[i]);
            if (plain_base) {
                field(context, "port");
                ReplyWithLongLong(context, plain_base + i);
            }
            field(context, "tls-port");
            ReplyWithLongLong(context, tls_base + i);
            field(context, "ip");
            field(context, ip);
            field(context, "endpoint");
            field(context, ip);
            field(context, "role");
            field(context, "master");
            field(context, "replication-offset");
            ReplyWithLongLong(context, 0);
            field(context, "health");
            field(context, "online");
        }
        return OK;
    }
    if (argc == 2 && text_is(argv[1], "nodes")) {
        char text[MAX_SHARDS * 200];
        int used = 0;
        for (int i = 0; i < shards; i++) {
            int port = port_of(context, i);
            used += snprintf(text + used, sizeof text - (size_t)used, "%s %s:%d@%d %smaster - 0 0 %d connected %d-%d\n",
                             ids[i], ip, port, tls_base + i + 10000, i == self ? "myself," : "", i + 1, first_slot(i),
                             last_slot(i));
        }
        return ReplyWithStringBuffer(context, text, (size_t)used);
    }
    if (argc == 2 && text_is(argv[1], "info")) {
        char text[512];
        int used = snprintf(text, sizeof text,
                            "cluster_enabled:1\r\ncluster_state:ok\r\ncluster_slots_assigned:%d\r\ncluster_slots_ok:%d\r\n"
                            "cluster_slots_pfail:0\r\ncluster_slots_fail:0\r\ncluster_known_nodes:%d\r\ncluster_size:%d\r\n"
                            "cluster_current_epoch:%d\r\ncluster_my_epoch:%d\r\n",
                            SLOTS, SLOTS, shards, shards, shards, self + 1);
        return ReplyWithStringBuffer(context, text, (size_t)used);
    }
    if (argc == 2 && text_is(argv[1], "myid")) {
        field(context, ids[self]);
        return OK;
    }
    if (argc == 3 && text_is(argv[1], "keyslot")) return ReplyWithLongLong(context, slot_of(argv[2]));
    return ReplyWithError(context, "ERR unknown subcommand or wrong number of arguments. Try CLUSTER HELP.");
}

#define FETCH(name)                                                                                                    \
    if (GetApi("RedisModule_" #name, &name) != OK) return ERR
#define FETCH_AS(function, name)                                                                                       \
    if (GetApi("RedisModule_" name, &function) != OK) return ERR

int RedisModule_OnLoad(Context *context, Text **argv, int argc) {
    GetApi = (int (*)(const char *, void *))((void **)context)[0];
    FETCH(SetModuleAttribs);
    FETCH(CreateCommand);
    FETCH(RegisterCommandFilter);
    FETCH_AS(ArgsCount, "CommandFilterArgsCount");
    FETCH_AS(ArgGet, "CommandFilterArgGet");
    FETCH_AS(ArgReplace, "CommandFilterArgReplace");
    FETCH_AS(ArgDelete, "CommandFilterArgDelete");
    FETCH_AS(ArgInsert, "CommandFilterArgInsert");
    FETCH(CreateString);
    FETCH(StringPtrLen);
    FETCH(ReplyWithError);
    FETCH(ReplyWithSimpleString);
    FETCH(ReplyWithStringBuffer);
    FETCH(ReplyWithLongLong);
    FETCH(ReplyWithArray);
    FETCH(ReplyWithMap);
    FETCH(ReplyWithCallReply);
    FETCH(Call);
    FETCH(CallReplyStringPtr);
    FETCH(FreeCallReply);
    FETCH(GetCommandKeys);
    FETCH(Free);
    FETCH(GetClientId);
    FETCH(GetClientInfoById);
    if (argc < 2) return ERR;
    pause_is_60 = text_is(argv[1], "6.0");
    is_enterprise = argc > 2 && text_is(argv[2], "enterprise");
    one_slot = is_enterprise && argc > 3 && text_is(argv[3], "one-slot");
    if (argc > 6 && text_is(argv[2], "cluster")) {
        self = atoi(StringPtrLen(argv[3], NULL));
        snprintf(ip, sizeof ip, "%s", StringPtrLen(argv[4], NULL));
        tls_base = atoi(StringPtrLen(argv[5], NULL));
        plain_base = atoi(StringPtrLen(argv[6], NULL));
        shards = argc - 7;
        if (shards < 1 || shards > MAX_SHARDS) return ERR;
        for (int i = 0; i < shards; i++) snprintf(ids[i], sizeof ids[i], "%s", StringPtrLen(argv[7 + i], NULL));
    }
    SetModuleAttribs(context, "localazure", 1, 1);
    const char *flags = "readonly fast allow-loading allow-stale";
    if (CreateCommand(context, "localazure.refuse", refuse, flags, 0, 0, 0) != OK ||
        CreateCommand(context, "localazure.ok", answer_ok, flags, 0, 0, 0) != OK ||
        CreateCommand(context, "localazure.moved", moved, flags, 0, 0, 0) != OK ||
        CreateCommand(context, "localazure.info", info, flags, 0, 0, 0) != OK ||
        CreateCommand(context, "localazure.cluster", cluster, flags, 0, 0, 0) != OK ||
        CreateCommand(context, "localazure.clientpause", set_pause, flags, 0, 0, 0) != OK)
        return ERR;
    if (is_enterprise && CreateCommand(context, "localazure.configset", set_config, flags, 0, 0, 0) != OK) return ERR;
    return RegisterCommandFilter(context, filter, 1 /* not for commands that the module itself calls */) ? OK : ERR;
}
