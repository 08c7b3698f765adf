"""
The data plane: reading, carrying, comparing and copying keys between two Redis servers.

connect.py
    ServerAddress(host, port=6379, tls=False, username=None, password=None, ca_file=None, clustered=None)
        .from_url("redis://..." | "rediss://...", ca_file=None, clustered=None), .with_password(str | Secret), .url
    Connection(address, host=None, port=None, connect_timeout_s=15, timeout_s=60): one raw connection, never renewed
        .call(*args) -> reply (raises the named error), .pipeline(commands) -> replies (errors as ReplyError values),
        .select(db), .client_id(), .send(*args), .read_reply(timeout_s) -> reply | None, .authenticate(), .close(),
        .fileno(), .where, .closed_because (None while open)
    exchange([(connection, pack(commands)), ...]) -> [[reply, ...], ...]: several connections at the same time
    Server.open(address, timeout_s=60): one logical Redis, single or cluster
        .nodes: list[Node(host, port, node_id, slots)], .clustered, .version (tuple), .flavour ("redis" | "valkey"),
        .connection(node=None, database=None) (kept, one per node), .new_connection(node=None, database=0) (yours),
        .databases() -> {db: keys}, .has_database(db), .info(section=None, node=None) -> dict, .run_id(node),
        .role(node), .now_ms(node), .clock(node) -> ClockReading, .node_for(key), .refresh_nodes(),
        .execute([(key, command), ...], database=0, deadline_s=30) -> replies (MOVED, ASK, failovers followed),
        .scan(node, database=0, count=1000) -> batches of keys, .own_connections(), .close()
    clock_skew_ms(source, target) -> int
carry.py
    Carrier(source: Server, target: Server).carry(database, keys, probe=False) -> CarryReport: each key becomes on the
        target what it is on the source now (deleted where the source lacks it); safe to repeat. probe=True asks sizes
        first so that very big values go in parts; leave it off inside a hold.
keys.py
    read_states([(server, keys), ...], database=0, payloads=True) -> [States(payloads, expires_at_ms, slack_ms), ...]
mirror.py
    copy_and_follow(source, target, until_caught_up=False, remove_extra=False, limits=None, checkpoint=None, ...)
        -> FollowReport: copies, then carries every change until stopped or caught up; the target becomes equal
verify/
    differences(source, target, tolerance_ms=5, databases=None) -> Iterator[(database, key)]: for a repair pass
    compare_keys(source, target, database, keys, depth="full", tolerance_ms=5, pair=None) -> list[Difference]
    Pair.of(source, target) (verify/compare.py): make it once before a hold and give it to compare_keys as `pair`
    verify(source, target, depth="keys" | "values" | "full", rounds=3, tolerance_ms=5, on_progress=None,
        deadline_s=None, known_ignored=None, checkpoint=None) -> VerifyReport(.equal, .counts, .databases,
        .first_differences, .signature, .to_json(), .summary())
payload.py
    decode(payload) -> Value, digest(value), differs_in(one, other): a DUMP payload by content
errors.py
    every error is a RedismoveError with one sentence; a connection that breaks raises ConnectionLost for good

A Connection and a Server belong to one thread at a time: open another `Server` (or `new_connection`) per thread.
"""
