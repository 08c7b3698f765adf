"""
Measures copy and verify against what the servers can do, and against a peer where its program is given.

    python -m bench [--data a,b,c] [--scale 0.2] [--runs 3] [--only copy,verify,delay,tls,memory,users,cutover]
    REDIS_SHAKE=/path/to/redis-shake python -m bench

Every ratio is the median of ratios of runs that alternate in the same minutes: the speed of a machine drifts by more
than what is measured. Nothing of a peer is kept here.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path

from bench import cutover, datasets, expiry, limit, users
from redismove.dataplane.connect import Server, ServerAddress
from redismove.dataplane.pump import library
from redismove.dataplane.verify import verify
from tests.support.cutover import world
from tests.support.redis_servers import RedisProcess, make_tls, redis_server

ROOT = Path(__file__).resolve().parents[1]
WANTED = {
    "copy / limit": 0.75,
    "copy / RedisShake": 3.5,
    "delay to target": 0.9,
    "delay to source": 0.9,
    "delay to both": 0.9,
    "tls / plain": 0.6,
    "verify / copy": 1.0,
    "memory MB": 250,
    "expiry off by ms": 5,
    "users' p99 with / without": 2.0,
    "hold ms": 10,
    "acknowledged writes lost": 0,
    "errors of our client": 0,
}
AT_MOST = {
    "memory MB",
    "expiry off by ms",
    "users' p99 with / without",
    "hold ms",
    "acknowledged writes lost",
    "errors of our client",
}
ONLY_WANTED_OF = {"copy / RedisShake": {"a"}}
"""Elsewhere it is measured, and nothing is demanded."""


@dataclass
class Results:
    """Lines of the table, and the same as JSON."""

    rows: list[dict[str, object]] = field(default_factory=list)

    def add(self, what: str, data: str, value: float, runs: list[float], note: str = "") -> None:
        """Print and keep one result."""
        wanted = WANTED.get(what) if data in ONLY_WANTED_OF.get(what, {data}) else None
        verdict = ""
        if wanted is not None:
            good = value <= wanted if what in AT_MOST else value >= wanted
            verdict = f"(wanted {'<=' if what in AT_MOST else '>='} {wanted:g}: {'yes' if good else 'NO'})"
        spread = f"runs {' '.join(f'{run:.2f}' for run in runs)}" if len(runs) > 1 else ""
        sys.stdout.write(f"{data:2} {what:28} {value:8.2f} {verdict:24} {spread} {note}\n")
        sys.stdout.flush()
        self.rows.append({"what": what, "data": data, "value": value, "runs": runs, "wanted": wanted, "note": note})


def say(text: str) -> None:
    """A line that is no result."""
    sys.stdout.write(f"   {text}\n")
    sys.stdout.flush()


@dataclass
class Run:
    """What one run took: keys a second (over all, and without logins and topology), CPU of our program, its memory."""

    keys_per_s: float
    moving_keys_per_s: float
    cpu_us_per_key: float
    memory_mb: float


def tool(command: str, source: ServerAddress, target: ServerAddress, keys: int, *options: str) -> Run:
    """Run `redismove copy` or `verify` as a user would: start of the program not counted, everything else is."""
    arguments = [sys.executable, "-m", "bench.timed", command, _url(source), _url(target), *options]
    environment = dict(os.environ)
    if source.ca_file:
        environment["SSL_CERT_FILE"] = source.ca_file
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(arguments, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"{command} failed: {done.stdout}{done.stderr}")
    result = json.loads(done.stdout.splitlines()[-1])
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Run(
        result["keys"] / result["seconds"],
        result["keys"] / result["moving_s"],
        cpu_s / keys * 1e6,
        result["memory_mb"],
    )


def _url(address: ServerAddress) -> str:
    secret = f":{address.password.reveal()}@" if address.password else ""
    return f"{'rediss' if address.tls else 'redis'}://{secret}{address.host}:{address.port}"


def _version(server: RedisProcess) -> str:
    with Server.open(server.address) as opened:
        return f"{opened.flavour} {'.'.join(map(str, opened.version))}"


def flush(server: RedisProcess) -> None:
    """Empty a server, outside of what is measured."""
    with server.connect() as connection:
        connection.call("FLUSHALL")


def filled(server: RedisProcess, name: str, keys: int) -> int:
    """Make a data set on an empty server; return how many keys it has."""
    with server.connect() as connection:
        datasets.fill(connection, name, keys)
        return int(connection.call("DBSIZE"))


@contextmanager
def delayed(address: ServerAddress, round_trip_ms: float) -> Iterator[ServerAddress]:
    """The address of a proxy in front of a server."""
    command = [sys.executable, "-m", "bench.delay_proxy", str(address.port), str(round_trip_ms)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield replace(address, port=int(process.stdout.readline()))
    finally:
        process.terminate()
        process.wait(10)
        if process.stdout:
            process.stdout.close()


def redis_shake(program: str, source: RedisProcess, target: RedisProcess, keys: int) -> float:
    """Keys a second of RedisShake's scan reader, with the settings that were its best (measured 2026-11)."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "shake.toml")
        config.write_text(
            f'[scan_reader]\naddress = "127.0.0.1:{source.port}"\nksn = false\ncount = 1000\n'
            f'[redis_writer]\naddress = "127.0.0.1:{target.port}"\n'
            '[advanced]\ndir = "data"\nncpu = 2\npipeline_count_limit = 8192\n'
            'rdb_restore_command_behavior = "rewrite"\nlog_level = "warn"\n'
        )
        begun = time.perf_counter()
        done = subprocess.run([program, str(config)], cwd=folder, capture_output=True, text=True, check=False)
        seconds = time.perf_counter() - begun
        if done.returncode:
            raise SystemExit(f"RedisShake failed: {done.stdout[-2000:]}{done.stderr[-2000:]}")
        return keys / seconds


def redis_shake_version(program: str) -> str:
    """
    Which RedisShake it is: the program does not say, so what Go's linker wrote into it.

    Releases carry no more than this either; builds newer than v4.2 (2024-09) write in batches and are twice as fast.
    """
    data = Path(program).read_bytes()
    facts = {
        name: found.group(1).decode()
        for name in ("revision", "time", "modified")
        if (found := re.search(rb"vcs\.%b=([0-9A-Za-z:+.-]+)" % name.encode(), data))
    }
    if "revision" not in facts:
        return "RedisShake of unknown version"
    changed = ", built from changed files" if facts.get("modified") == "true" else ""
    return f"RedisShake commit {facts['revision'][:7]} of {facts.get('time', '?')[:10]}{changed}"


def add_expiries(results: Results, name: str, source: RedisProcess, target: RedisProcess, note: str) -> None:
    """How far the copy's expiries are from the source's: the largest difference counts."""
    with source.connect() as one, target.connect() as other:
        off_ms = sorted(expiry.differences_ms(one, other))
    if off_ms:
        p99_ms = off_ms[int(len(off_ms) * 0.99)]
        note = f"{note}; {len(off_ms):,} keys with an expiry, 99 % within {p99_ms:.1f} ms"
        results.add("expiry off by ms", name, off_ms[-1], [], note)


def alternate(runs: int, *parts: Callable[[], float]) -> list[list[float]]:
    """Run the parts one after the other, `runs` times; one list per part."""
    results: list[list[float]] = [[] for _ in parts]
    for _ in range(runs):
        for result, part in zip(results, parts, strict=True):
            result.append(part())
    return results


def ratios(one: list[float], other: list[float]) -> list[float]:
    """Pair by pair."""
    return [a / b for a, b in zip(one, other, strict=True)]


def bench_data(results: Results, name: str, options: argparse.Namespace, only: set[str]) -> None:
    """Everything about one data set between 6.2 and 7.0."""
    keys = max(100, int(datasets.SIZES[name] * options.scale))
    with redis_server(options.source) as source, redis_server(options.target) as target:
        keys = filled(source, name, keys)
        say(f"{name}: {keys:,} keys, {datasets.WORDS[name]}; from {_version(source)} to {_version(target)}")
        if "copy" in only or "verify" in only:
            _bench_copy(results, name, keys, source, target, options)
        if "users" in only and name == "a":
            flush(target)
            without_ms, with_ms = users.p99_with_and_without(source, target)
            note = f"{without_ms:.2f} ms without, {with_ms:.2f} ms with 20,000 keys/s"
            results.add("users' p99 with / without", name, with_ms / without_ms, [], note)
        if "delay" in only:
            # In a fifth of the size a run takes half a second, of which the line's first round trips are a third.
            if options.scale < 1:
                flush(source)
                keys = filled(source, name, datasets.SIZES[name])
                say(f"{name}: {keys:,} keys for the long line")
            _bench_delay(results, name, keys, source, target, options)


def _bench_copy(
    results: Results, name: str, keys: int, source: RedisProcess, target: RedisProcess, options: argparse.Namespace
) -> None:
    memory: list[float] = []
    cpu: list[float] = []

    def copied() -> float:
        flush(target)
        run = tool("copy", source.address, target.address, keys)
        memory.append(run.memory_mb)
        cpu.append(run.cpu_us_per_key)
        return run.keys_per_s

    def verified() -> float:
        return tool("verify", source.address, target.address, keys).keys_per_s

    with source.connect() as reading, target.connect() as writing:
        used_bytes = int(Server.open(source.address).info("memory")["used_memory"])
        from_source, entries = limit.prepare_source(reading, mean_bytes=used_bytes / keys)
        to_target = limit.prepare_target(entries)
        del entries

        def target_alone() -> float:
            flush(target)
            return limit.run(writing, to_target)

        read, written, ours, checked = alternate(
            options.runs, lambda: limit.run(reading, from_source), target_alone, copied, verified
        )
    limits = [min(pair) for pair in zip(read, written, strict=True)]
    say(
        f"{name}: keys/s: source alone {statistics.median(read):,.0f}, target alone {statistics.median(written):,.0f}, "
        f"copy {statistics.median(ours):,.0f}, verify full {statistics.median(checked):,.0f}; "
        f"our CPU {statistics.median(cpu):.2f} us a key"
    )
    for what, pairs in (("copy / limit", ratios(ours, limits)), ("verify / copy", ratios(checked, ours))):
        results.add(what, name, statistics.median(pairs), pairs)
    results.add("memory MB", name, max(memory), memory)
    with Server.open(source.address) as one, Server.open(target.address) as other:
        report = verify(one, other)
        if not report.equal:
            raise SystemExit(f"the copy of {name} is not exact: {report.to_json()}")
    add_expiries(results, name, source, target, "copied without delay")
    program = os.environ.get("REDIS_SHAKE")
    if not program:
        say("RedisShake is not compared: set REDIS_SHAKE to its program")
        return

    def peer() -> float:
        flush(target)
        return redis_shake(program, source, target, keys)

    theirs, again = alternate(options.runs, peer, copied)
    pairs = ratios(again, theirs)
    results.add(
        "copy / RedisShake",
        name,
        statistics.median(pairs),
        pairs,
        f"{statistics.median(again):,.0f} and {statistics.median(theirs):,.0f} keys/s; {redis_shake_version(program)}",
    )


def _bench_delay(
    results: Results, name: str, keys: int, source: RedisProcess, target: RedisProcess, options: argparse.Namespace
) -> None:
    def copied(one: ServerAddress, other: ServerAddress) -> float:
        flush(target)
        return tool("copy", one, other, keys).moving_keys_per_s

    for what, to_source, to_target in (
        ("delay to target", False, True),
        ("delay to source", True, False),
        ("delay to both", True, True),
    ):

        def through(round_trip_ms: float, to_source: bool = to_source, to_target: bool = to_target) -> float:
            with (
                delayed(source.address, round_trip_ms if to_source else 0) as one,
                delayed(target.address, round_trip_ms if to_target else 0) as other,
            ):
                return copied(one if to_source else source.address, other if to_target else target.address)

        # The proxy costs CPU on the same cores, so it stands in the way of both runs.
        near, far = alternate(options.runs, lambda t=through: t(0), lambda t=through: t(options.round_trip_ms))
        pairs = ratios(far, near)
        # The first key is asked for and written once, whatever the size: a short run cannot hide that.
        near_s, once_s = keys / statistics.median(near), (to_source + to_target) * options.round_trip_ms / 1000
        note = (
            f"{options.round_trip_ms:g} ms: {statistics.median(far):,.0f} keys/s, "
            f"0 ms: {statistics.median(near):,.0f} (from the first key on; at most {near_s / (near_s + once_s):.2f} "
            "is possible at this size)"
        )
        results.add(what, name, statistics.median(pairs), pairs, note)
    add_expiries(results, name, source, target, f"copied over {options.round_trip_ms:g} ms on both sides")


def bench_tls(results: Results, name: str, options: argparse.Namespace) -> None:
    """TLS on both sides beside none; both between servers of 7.0, the ones with TLS."""
    keys = max(100, int(datasets.SIZES[name] * options.scale))
    with tempfile.TemporaryDirectory() as folder:
        files = make_tls(Path(folder))
        with (
            redis_server() as source,
            redis_server() as target,
            redis_server(tls=files) as tls_source,
            redis_server(tls=files) as tls_target,
        ):
            for server in (source, tls_source):
                count = filled(server, name, keys)

            def plain() -> float:
                flush(target)
                return tool("copy", source.address, target.address, count).keys_per_s

            def secured() -> float:
                flush(tls_target)
                return tool("copy", tls_source.address, tls_target.address, count).keys_per_s

            without, with_tls = alternate(options.runs, plain, secured)
            pairs = ratios(with_tls, without)
            results.add("tls / plain", name, statistics.median(pairs), pairs)


def bench_memory(results: Results, options: argparse.Namespace) -> None:
    """One hash of a million members, and (with --full) ten million keys."""
    with redis_server(options.source) as source, redis_server(options.target) as target:
        with source.connect() as connection:
            for start in range(0, 1_000_000, 10_000):
                fields = [part for i in range(start, start + 10_000) for part in (f"field:{i}", f"value of field {i}")]
                connection.call("HSET", "huge", *fields)
        run = tool("copy", source.address, target.address, 1)
        check = tool("verify", source.address, target.address, 1)
        results.add(
            "memory MB", "1M", max(run.memory_mb, check.memory_mb), [run.memory_mb, check.memory_mb], "one hash"
        )
        if options.full:
            with source.connect() as connection:
                connection.call("FLUSHALL")
                for start in range(0, 10_000_000, 100_000):
                    connection.pipeline([("SET", f"key:{i}", i) for i in range(start, start + 100_000)])
            flush(target)
            run = tool("copy", source.address, target.address, 10_000_000)
            check = tool("verify", source.address, target.address, 10_000_000)
            note = f"10,000,000 keys; copy {run.keys_per_s:,.0f}/s, verify {check.keys_per_s:,.0f}/s"
            results.add("memory MB", "10", max(run.memory_mb, check.memory_mb), [run.memory_mb, check.memory_mb], note)


def bench_cutover(results: Results, options: argparse.Namespace) -> None:
    """There and back under 5,000 writes a second, between single servers and between clusters of three."""
    keys = int(1_000_000 * options.scale)
    for name, clustered in (("1", False), ("3", True)):
        with (
            tempfile.TemporaryDirectory() as folder,
            world(Path(folder), source=options.source, target=options.target, clustered=clustered) as here,
        ):
            cutover.fill(here, keys)
            measured = cutover.measure(here, runs=options.cutovers, rate=5000)
        for line in cutover.describe(measured):
            say(line)
        note = f"{options.cutovers} cut-overs in turn there and back, {keys:,} keys, {3 if clustered else 1} primaries"
        results.add("hold ms", name, statistics.median(measured.hold_ms), measured.hold_ms, note)
        results.add("acknowledged writes lost", name, measured.lost, [], f"of {measured.acknowledged:,}")
        results.add("errors of our client", name, measured.errors_ours, [])


def main() -> None:
    """Run what was asked for; exit status 1 when something is not as wanted."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--data", default="a,b,c")
    parser.add_argument("--scale", type=float, default=0.2, help="of the full data sets (1M, 100k, 2k keys)")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", default="copy,verify,delay,tls,memory,users,cutover")
    parser.add_argument("--cutovers", type=int, default=10, help="cut-overs of each kind (50 with --full)")
    parser.add_argument("--round-trip-ms", type=float, default=80)
    parser.add_argument("--source", default="6.2")
    parser.add_argument("--target", default="7.0")
    parser.add_argument("--full", action="store_true", help="full size, and ten million keys")
    parser.add_argument("--json", type=Path, help="also write the results there")
    options = parser.parse_args()
    if options.full:
        options.scale = 1.0
        options.cutovers = max(options.cutovers, 50)
    only = set(options.only.split(","))
    say(
        f"redismove {metadata.version('redismove')}, Python {platform.python_version()}, {os.cpu_count()} cores, "
        f"{'compiled loop' if library() else 'Python alone: no C compiler'}"
    )
    results = Results()
    for name in options.data.split(","):
        if only & {"copy", "verify", "delay", "users"}:
            bench_data(results, name, options, only)
        if "tls" in only:
            bench_tls(results, name, options)
    if "memory" in only:
        bench_memory(results, options)
    if "cutover" in only:
        bench_cutover(results, options)
    if options.json:
        options.json.write_text(json.dumps(results.rows, indent=1))
    missed = [
        row
        for row in results.rows
        if row["wanted"] is not None
        and (row["value"] > row["wanted"] if row["what"] in AT_MOST else row["value"] < row["wanted"])  # type: ignore[operator]
    ]
    say(f"{len(results.rows) - len(missed)} of {len(results.rows)} as wanted")
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
