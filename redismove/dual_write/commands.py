"""
Every command, and what it means while two caches are written.

- READ: it may be answered by either cache. Its keys are known, so that it never overtakes this client's own writes.
- FIRST: it changes no key and speaks of one server (INFO, PUBLISH, SCRIPT LOAD, ...): the first cache's, always.
- WRITE: the first cache runs it, whatever it does (INCR, SPOP, a script, a relative expiry), and the keys that it may
  have written are carried to the second by value. So nothing is run twice and nothing has to be deterministic.
- REFUSED: what cannot be right on two caches, with the reason and the cure. A command that is not in the table is
  refused too: it could change a key that nobody would carry.

Positions count from 1 behind the command's name. Sources: Redis command reference (key specifications), checked by a
test against COMMAND and COMMAND GETKEYS of real servers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise
from typing import Any, Final

from redismove.dual_write.errors import CommandRefused

Operands = Sequence[Any]
KeyFinder = Callable[[Operands], Sequence[Any]]


class Kind(Enum):
    """Where a command goes and what becomes of its keys."""

    READ = "read"
    FIRST = "first"
    WRITE = "write"
    REFUSED = "refused"


@dataclass(frozen=True)
class Spec:
    """
    One command of the table.

    Attributes:
        keys: finds the keys that it reads (READ) or may write (WRITE).
        everything: what it reads or writes is the whole database.
        cursor: the position of the cursor of an iteration, 0 where there is none.
        reason: why it is refused.
    """

    name: str
    kind: Kind
    keys: KeyFinder | None = None
    everything: bool = False
    cursor: int = 0
    reason: str = ""


@dataclass(frozen=True)
class Call:
    """
    One command of an application, understood.

    Attributes:
        keys: read (READ) or perhaps written (WRITE), as the application gave them.
        everything: it reads or writes the whole database.
        cursor: the index of the cursor in the arguments, 0 where there is none.
    """

    name: str
    kind: Kind
    keys: tuple[Any, ...] = ()
    everything: bool = False
    cursor: int = 0


# -- where keys are -------------------------------------------------------------------------------------------------


def at(first: int, last: int | None = None, step: int = 1) -> KeyFinder:
    """Keys stand from *first* to *last* (counted from the end when negative), every *step*."""

    def find(operands: Operands) -> Sequence[Any]:
        end = first if last is None else last if last > 0 else len(operands) + 1 + last
        return operands[first - 1 : end : step]

    find.__doc__ = f"{first}" if last is None else f"{first}..{last}" + (f" step {step}" if step > 1 else "")
    return find


def counted(position: int, step: int = 1) -> KeyFinder:
    """A number of keys stands at *position*, and the keys behind it."""

    def find(operands: Operands) -> Sequence[Any]:
        try:
            number = int(operands[position - 1])
        except (IndexError, ValueError, TypeError):
            return ()  # the server will refuse it
        return operands[position : position + number * step : step]

    return find


def _after_streams(operands: Operands) -> Sequence[Any]:
    for index, operand in enumerate(operands):
        if _word(operand) == "STREAMS":
            rest = operands[index + 1 :]
            return rest[: len(rest) // 2]
    return ()


def _word(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("ascii", "replace").upper()
    return value.upper() if isinstance(value, str) else ""


def _option(operands: Operands, *names: str) -> list[Any]:
    """The values behind every option of one of these names."""
    return [value for name, value in pairwise(operands) if _word(name) in names]


# -- why commands are refused ---------------------------------------------------------------------------------------

ONE_CACHE: Final = "it is about one server and not about its keys; send it to that cache by a client of its own"
ONE_CONNECTION: Final = "it changes one connection, and no connection spans two caches; give it as the client's option"
IN_A_PIPELINE: Final = "use pipeline(), transaction() and their methods"
IN_A_PUBSUB: Final = "use pubsub() and its methods"
OTHER_DATABASE: Final = "it reaches another database than this client's; use a client for each database"
FLUSHES: Final = "it would empty a cache; say allow_flush=True in the settings if FLUSHDB is meant"
FLUSHES_ALL: Final = "it reaches databases that this client is not made for; use FLUSHDB with allow_flush=True"
FUNCTIONS: Final = "libraries of functions are not carried; load them into each cache by a client of its own"
MODULES: Final = "its data belongs to a module, which cannot be carried and compared; Basic to Premium have none"
TOO_NEW: Final = "its data is of a type that cannot be compared yet; no cache that can be moved like this has it"
BETWEEN_SERVERS: Final = "it moves keys between servers past this client; use RESTORE, or copy beforehand"
KEYS_NOT_DECLARED: Final = (
    "what a script writes is carried by the keys that it declares; pass each of them as one of its KEYS (numkeys)"
)
REPLICAS: Final = "it speaks of the last write of one connection, which is another one by then; leave it out"
ONE_NODE: Final = "its cursor belongs to one node of a cluster; use SCAN through scan_iter()"
UNKNOWN: Final = "it is not known what it changes; use a known command, or leave dual-write"


# -- the table ------------------------------------------------------------------------------------------------------

_READS: Final[tuple[tuple[KeyFinder, str], ...]] = (
    (
        at(1),
        """
        BITCOUNT BITFIELD_RO BITPOS DIGEST DUMP EXPIRETIME GEODIST GEOHASH GEOPOS GEORADIUS_RO GEORADIUSBYMEMBER_RO
        GEOSEARCH GET GETBIT GETRANGE HEXISTS HEXPIRETIME HGET HGETALL HKEYS HLEN HMGET HPEXPIRETIME HPTTL HRANDFIELD
        HSTRLEN HTTL HVALS LINDEX LLEN LPOS LRANGE PEXPIRETIME PTTL SCARD SISMEMBER SMEMBERS SMISMEMBER SRANDMEMBER
        STRLEN SUBSTR TTL TYPE XLEN XPENDING XRANGE XREVRANGE ZCARD ZCOUNT ZLEXCOUNT ZMSCORE ZRANDMEMBER ZRANGE
        ZRANGEBYLEX ZRANGEBYSCORE ZRANK ZREVRANGE ZREVRANGEBYLEX ZREVRANGEBYSCORE ZREVRANK ZSCORE
        OBJECT:ENCODING OBJECT:FREQ OBJECT:IDLETIME OBJECT:REFCOUNT MEMORY:USAGE
        XINFO:CONSUMERS XINFO:GROUPS XINFO:STREAM
        """,
    ),
    (at(1, 2), "LCS"),
    (at(1, -1), "EXISTS MGET SDIFF SINTER SUNION TOUCH"),
    (counted(1), "SDIFFCARD SINTERCARD SUNIONCARD ZDIFF ZINTER ZINTERCARD ZUNION"),
)

_WRITES: Final[tuple[tuple[KeyFinder, str], ...]] = (
    (
        at(1),
        """
        APPEND BITFIELD DECR DECRBY DELEX DELIFEQ EXPIRE EXPIREAT GEOADD GEOSEARCHSTORE GETDEL GETEX GETSET HDEL HEXPIRE
        HEXPIREAT HGETDEL HGETEX HINCRBY HINCRBYFLOAT HMSET HPERSIST HPEXPIRE HPEXPIREAT HSET HSETEX HSETNX INCR INCRBY
        INCRBYFLOAT INCREX LINSERT LPOP LPUSH LPUSHX LREM LSET LTRIM PERSIST PEXPIRE PEXPIREAT PFADD PFMERGE PSETEX
        RESTORE RPOP RPUSH RPUSHX SADD SDIFFSTORE SET SETBIT SETEX SETNX SETRANGE SINTERSTORE SPOP SREM SUNIONSTORE
        XACK XACKDEL XADD XAUTOCLAIM XCFGSET XCLAIM XDEL XDELEX XNACK XSETID XTRIM
        ZADD ZDIFFSTORE ZINCRBY ZINTERSTORE ZPOPMAX ZPOPMIN ZRANGESTORE ZREM ZREMRANGEBYLEX ZREMRANGEBYRANK
        ZREMRANGEBYSCORE ZUNIONSTORE
        XGROUP:CREATE XGROUP:CREATECONSUMER XGROUP:DELCONSUMER XGROUP:DESTROY XGROUP:SETID
        """,
    ),
    (at(2), "BITOP"),
    (at(1, 2), "BLMOVE BLMOVEM BRPOPLPUSH LMOVE LMOVEM RENAME RENAMENX RPOPLPUSH SMOVE"),
    # PFCOUNT writes the count that it found into its key.
    (at(1, -1), "DEL PFCOUNT UNLINK"),
    (at(1, -2), "BLPOP BRPOP BZPOPMAX BZPOPMIN"),
    (at(1, -1, 2), "MSET MSETNX"),
    (counted(1), "LMPOP ZMPOP"),
    (counted(2), "BLMPOP BZMPOP EVAL EVALSHA FCALL"),
    (counted(1, 2), "MSETEX"),
    (_after_streams, "XREADGROUP"),
)

_FIRST: Final = """
    COMMAND COMMAND:COUNT COMMAND:DOCS COMMAND:GETKEYS COMMAND:GETKEYSANDFLAGS COMMAND:HELP COMMAND:INFO COMMAND:LIST
    ACL:CAT ACL:DRYRUN ACL:GENPASS ACL:GETUSER ACL:HELP ACL:LIST ACL:LOG ACL:USERS ACL:WHOAMI
    CLIENT:GETNAME CLIENT:GETREDIR CLIENT:HELP CLIENT:ID CLIENT:INFO CLIENT:LIST CLIENT:TRACKINGINFO
    CLUSTER:COUNT-FAILURE-REPORTS CLUSTER:COUNTKEYSINSLOT CLUSTER:GETKEYSINSLOT CLUSTER:GETSLOTMIGRATIONS CLUSTER:HELP
    CLUSTER:INFO CLUSTER:KEYSLOT CLUSTER:LINKS CLUSTER:MYID CLUSTER:MYSHARDID CLUSTER:NODES CLUSTER:REPLICAS
    CLUSTER:SHARDS CLUSTER:SLAVES CLUSTER:SLOT-STATS CLUSTER:SLOTS
    COMMANDLOG:GET COMMANDLOG:HELP COMMANDLOG:LEN CONFIG:GET CONFIG:HELP ECHO EVALSHA_RO EVAL_RO FCALL_RO
    FUNCTION:DUMP FUNCTION:HELP FUNCTION:LIST FUNCTION:STATS HOTKEYS:GET INFO LASTSAVE LATENCY:DOCTOR LATENCY:GRAPH
    LATENCY:HELP LATENCY:HISTOGRAM LATENCY:HISTORY LATENCY:LATEST LOLWUT LOLWUT:VERSION MEMORY:DOCTOR MEMORY:HELP
    MEMORY:MALLOC-STATS MEMORY:STATS MODULE:HELP MODULE:LIST OBJECT:HELP PING PUBLISH PUBSUB:CHANNELS PUBSUB:HELP
    PUBSUB:NUMPAT PUBSUB:NUMSUB PUBSUB:SHARDCHANNELS PUBSUB:SHARDNUMSUB ROLE SCRIPT:EXISTS SCRIPT:FLUSH SCRIPT:HELP
    SCRIPT:KILL SCRIPT:LOAD SCRIPT:SHOW FUNCTION:KILL SLOWLOG:GET SLOWLOG:HELP SLOWLOG:LEN SPUBLISH TIME
    XGROUP:HELP XINFO:HELP STRALGO
"""

_REFUSED: Final[tuple[tuple[str, str], ...]] = (
    (
        ONE_CACHE,
        """
        ACL:DELUSER ACL:LOAD ACL:SAVE ACL:SETUSER BGREWRITEAOF BGSAVE CLIENT:KILL CLIENT:PAUSE CLIENT:UNBLOCK
        CLIENT:UNPAUSE CLIENT:IMPORT-SOURCE CLUSTER:ADDSLOTS CLUSTER:ADDSLOTSRANGE CLUSTER:BUMPEPOCH
        CLUSTER:CANCELSLOTMIGRATIONS CLUSTER:DELSLOTS CLUSTER:DELSLOTSRANGE CLUSTER:FAILOVER CLUSTER:FLUSHSLOT
        CLUSTER:FLUSHSLOTS CLUSTER:FORGET CLUSTER:MEET CLUSTER:MIGRATESLOTS CLUSTER:REPLICATE CLUSTER:RESET
        CLUSTER:SAVECONFIG CLUSTER:SET-CONFIG-EPOCH CLUSTER:SETSLOT CLUSTER:SYNCSLOTS CLUSTER:DELSLOT
        COMMANDLOG:RESET CONFIG:RESETSTAT CONFIG:REWRITE CONFIG:SET DEBUG FAILOVER HOTKEYS:RESET HOTKEYS:START
        HOTKEYS:STOP LATENCY:RESET MEMORY:PURGE MODULE:LOAD MODULE:LOADEX MODULE:UNLOAD MONITOR PFDEBUG PFSELFTEST
        PSYNC REPLCONF REPLICAOF SAVE SCRIPT:DEBUG SENTINEL SHUTDOWN SLAVEOF SLOWLOG:RESET SYNC
        """,
    ),
    (
        ONE_CONNECTION,
        """
        ASKING AUTH CLIENT:CACHING CLIENT:CAPA CLIENT:NO-EVICT CLIENT:NO-TOUCH CLIENT:REPLY CLIENT:SETINFO
        CLIENT:SETNAME CLIENT:TRACKING HELLO HIMPORT:DISCARD HIMPORT:DISCARDALL HIMPORT:PREPARE HIMPORT:SET QUIT
        READONLY READWRITE RESET
        """,
    ),
    (OTHER_DATABASE, "MOVE SELECT SWAPDB"),
    (IN_A_PIPELINE, "DISCARD EXEC MULTI UNWATCH WATCH"),
    (IN_A_PUBSUB, "PSUBSCRIBE PUNSUBSCRIBE SSUBSCRIBE SUBSCRIBE SUNSUBSCRIBE UNSUBSCRIBE"),
    (FUNCTIONS, "FUNCTION:DELETE FUNCTION:FLUSH FUNCTION:LOAD FUNCTION:RESTORE"),
    (FLUSHES_ALL, "FLUSHALL"),
    (BETWEEN_SERVERS, "MIGRATE RESTORE-ASKING"),
    (REPLICAS, "WAIT WAITAOF"),
    (ONE_NODE, "CLUSTERSCAN"),
    (
        TOO_NEW,
        """
        ARCOUNT ARDEL ARDELRANGE ARGET ARGETRANGE ARGREP ARINFO ARINSERT ARLASTITEMS ARLEN ARMGET ARMSET ARNEXT AROP
        ARRING ARSCAN ARSEEK ARSET
        """,
    ),
    (
        MODULES,
        """
        VADD VCARD VDIM VEMB VGETATTR VINFO VISMEMBER VLINKS VRANDMEMBER VRANGE VREM VSETATTR VSIM
        """,
    ),
)

_MODULE_PREFIXES: Final = ("BF.", "CF.", "CMS.", "FT.", "GRAPH.", "JSON.", "TDIGEST.", "TFUNCTION", "TOPK.", "TS.")


def _names(text: str) -> Iterator[str]:
    for name in text.split():
        yield name.replace(":", " ")


def _build() -> dict[str, Spec]:
    table: dict[str, Spec] = {}

    def add(spec: Spec) -> None:
        assert spec.name not in table, spec.name
        table[spec.name] = spec

    for kind, groups in ((Kind.READ, _READS), (Kind.WRITE, _WRITES)):
        for keys, text in groups:
            for name in _names(text):
                add(Spec(name, kind, keys))
    for name in _names(_FIRST):
        add(Spec(name, Kind.FIRST))
    for reason, text in _REFUSED:
        for name in _names(text):
            add(Spec(name, Kind.REFUSED, reason=reason))
    for name in ("DBSIZE", "KEYS", "RANDOMKEY"):
        add(Spec(name, Kind.READ, everything=True))
    add(Spec("SCAN", Kind.READ, everything=True, cursor=1))
    for name in ("HSCAN", "SSCAN", "ZSCAN"):
        add(Spec(name, Kind.READ, at(1), cursor=2))
    # What these are depends on their options: see `understand`.
    for name in ("XREAD", "SORT_RO"):
        add(Spec(name, Kind.READ, _after_streams if name == "XREAD" else at(1)))
    for name in ("COPY", "SORT", "GEORADIUS", "GEORADIUSBYMEMBER"):
        add(Spec(name, Kind.WRITE, at(2) if name == "COPY" else at(1)))
    add(Spec("FLUSHDB", Kind.WRITE, everything=True))
    return table


TABLE: Final[dict[str, Spec]] = _build()
"""Every command by its name; a subcommand behind a space."""

_CONTAINERS: Final = frozenset(name.split(" ")[0] for name in TABLE if " " in name)


def spec_of(name: str) -> Spec:
    """Return the table's row for a name ("GET", "XGROUP CREATE"); what is not there is refused."""
    name = name.upper()
    found = TABLE.get(name) or TABLE.get(name.split(" ", 1)[0])
    if found is not None:
        return found
    reason = MODULES if name.startswith(_MODULE_PREFIXES) else UNKNOWN
    return Spec(name, Kind.REFUSED, reason=reason)


def split(args: Sequence[Any]) -> tuple[str, Sequence[Any], int]:
    """Return the name of a command with its subcommand, its operands, and the index of the first of these."""
    first = args[0]
    words = (first.decode("ascii", "replace") if isinstance(first, bytes) else str(first)).upper().split(" ")
    if len(words) > 1:
        return " ".join(words), args[1:], 1
    if words[0] in _CONTAINERS and len(args) > 1:
        name = f"{words[0]} {_word(args[1])}"
        if name in TABLE:
            return name, args[2:], 2
    return words[0], args[1:], 1


def understand(args: Sequence[Any], *, allow_flush: bool = False) -> Call:
    """
    Return what one command means on two caches.

    Args:
        args: as redis-py is given them: ("GET", key), ("XGROUP CREATE", key, ...), ("XGROUP", "CREATE", key, ...).
        allow_flush: FLUSHDB is meant.

    Raises:
        CommandRefused: it has no right meaning there.
    """
    name, operands, offset = split(args)
    spec = spec_of(name)
    if spec.kind is Kind.REFUSED:
        raise CommandRefused(name, spec.reason)
    special = _SPECIAL.get(spec.name)
    if special is not None:
        call = special(spec, operands)
        if call is not None:
            return call
    if spec.name == "FLUSHDB" and not allow_flush:
        raise CommandRefused(name, FLUSHES)
    return Call(
        spec.name,
        spec.kind,
        tuple(spec.keys(operands)) if spec.keys else (),
        spec.everything,
        offset + spec.cursor - 1 if spec.cursor else 0,
    )


def _xread(spec: Spec, operands: Operands) -> Call | None:
    # What waits for new entries waits where they are written first.
    for operand in operands:
        word = _word(operand)
        if word == "BLOCK":
            return Call(spec.name, Kind.FIRST)
        if word == "STREAMS":
            break
    return None


def _sort(spec: Spec, operands: Operands) -> Call | None:
    store = _option(operands[1:], "STORE")
    if store and spec.name == "SORT":
        return Call(spec.name, Kind.WRITE, (store[-1],))
    patterns = [value for value in _option(operands[1:], "BY", "GET") if "*" in _word(value)]
    # BY and GET read keys that only the server knows.
    return Call(spec.name, Kind.READ, tuple(operands[:1]), everything=bool(patterns))


def _georadius(spec: Spec, operands: Operands) -> Call | None:
    store = _option(operands[1:], "STORE", "STOREDIST")
    return Call(spec.name, Kind.WRITE, (store[-1],)) if store else Call(spec.name, Kind.READ, tuple(operands[:1]))


def _copy(_spec: Spec, operands: Operands) -> Call | None:
    if any(_word(operand) == "DB" for operand in operands[2:]):
        raise CommandRefused("COPY with DB", OTHER_DATABASE)
    return None


def _script(spec: Spec, operands: Operands) -> Call | None:
    assert spec.keys is not None
    if not spec.keys(operands):
        raise CommandRefused(f"{spec.name} without keys", KEYS_NOT_DECLARED)
    if spec.name == "EVAL":
        check_script(operands[0])
    return None


def _script_load(_spec: Spec, operands: Operands) -> Call | None:
    if operands:
        check_script(operands[0])
    return None


_SPECIAL: Final[dict[str, Callable[[Spec, Operands], Call | None]]] = {
    "XREAD": _xread,
    "SORT": _sort,
    "SORT_RO": _sort,
    "GEORADIUS": _georadius,
    "GEORADIUSBYMEMBER": _georadius,
    "COPY": _copy,
    "EVAL": _script,
    "EVALSHA": _script,
    "FCALL": _script,
    "SCRIPT LOAD": _script_load,
}

# -- scripts --------------------------------------------------------------------------------------------------------

_LUA_CALL: Final = re.compile(r"""redis\s*\.\s*p?call\s*\(\s*(["'])([A-Za-z_.]+)\1\s*(?:,\s*(["']|ARGV\b))?""")


def check_script(script: Any) -> None:
    """
    Refuse a script that openly writes a key it does not declare, or runs a command that is refused.

    Openly: the key is a literal or an argument (ARGV). A name that the script computes cannot be seen from here: that
    a script touches only its declared keys is what Redis asks of it, and what this client relies on.

    Raises:
        CommandRefused: it does.
    """
    text = script.decode("utf-8", "replace") if isinstance(script, bytes) else str(script)
    for found in _LUA_CALL.finditer(text):
        name = found.group(2).upper()
        spec = spec_of(name)
        if spec.kind is Kind.REFUSED or spec.name == "FLUSHDB":
            raise CommandRefused(f"{name} in a script", spec.reason or FLUSHES)
        if spec.kind is Kind.WRITE and found.group(3) and spec.keys is not None and spec.keys((1, 2, 3, 4))[:1] == (1,):
            raise CommandRefused(f"{name} in a script on a key that is not one of its KEYS", KEYS_NOT_DECLARED)


# -- the page -------------------------------------------------------------------------------------------------------


def table_as_markdown() -> str:
    """Return the table as docs/howto/dual-write.md shows it; a test compares them."""
    lines = ["| What becomes of it | Commands |", "|---|---|"]
    groups = (
        (Kind.WRITE, "run by the old cache, its keys carried to the new one"),
        (Kind.READ, "answered by the cache that is read"),
        (Kind.FIRST, "run by the old cache alone"),
    )
    for kind, what in groups:
        lines.append(f"| {what} | {_listed(spec for spec in TABLE.values() if spec.kind is kind)} |")
    reasons = dict.fromkeys(spec.reason for spec in TABLE.values() if spec.reason)
    lines += [
        f"| refused: {reason} | {_listed(spec for spec in TABLE.values() if spec.reason == reason)} |"
        for reason in reasons
    ]
    lines.append(f"| refused: {MODULES} | every command that begins with {', '.join(_MODULE_PREFIXES)} |")
    lines.append(f"| refused: {UNKNOWN} | every other command |")
    return "\n".join(lines) + "\n"


def _listed(specs: Iterable[Spec]) -> str:
    return " ".join(sorted(f"`{spec.name}`" for spec in specs))
