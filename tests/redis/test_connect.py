"""Connections: pipelines of any size, named errors, and no renewal behind anybody's back."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from redismove.dataplane.connect import Connection, Server, ServerAddress, _tls_context, exchange, pack
from redismove.dataplane.errors import (
    AuthenticationFailed,
    CertificateRejected,
    CommandBlocked,
    ConnectionLost,
    ConnectionRefused,
    DataPlaneError,
    OutOfMemory,
    ProtocolViolation,
    ReadOnlyServer,
    ReplyError,
    ServerTimeout,
)
from tests.support.redis_servers import free_port, make_tls, redis_cluster, redis_server

pytestmark = pytest.mark.redis


def test_a_pipeline_bigger_than_every_buffer_is_answered(connection: Connection) -> None:
    connection.call("SET", "big", "x" * 1_000_000)
    replies = connection.pipeline([("GET", "big"), ("SET", "other", "y" * 1_000_000)] * 40)
    assert [len(reply) for reply in replies] == [1_000_000, 2] * 40


def test_errors_stand_in_their_place_in_a_pipeline(connection: Connection) -> None:
    replies = connection.pipeline([("SET", "a", 1), ("LPUSH", "a", 2), ("GET", "a")])
    assert replies[0] == b"OK"
    assert isinstance(replies[1], ReplyError)
    assert replies[1].code == "WRONGTYPE"
    assert replies[2] == b"1"


def test_two_servers_answer_at_the_same_time(source: Server, target: Server) -> None:
    mine, theirs = exchange([(source.connection(), pack([("PING",)] * 3)), (target.connection(), pack([("DBSIZE",)]))])
    assert (mine, theirs) == ([b"PONG"] * 3, [0])


def test_databases_and_identity_are_read(source: Server) -> None:
    source.connection(database=3).call("SET", "k", "v")
    source.connection(database=0).call("SET", "k", "v")
    assert source.databases() == {0: 1, 3: 1}
    assert source.version >= (7,)
    assert source.role() == "master"
    assert len(source.run_id()) == 40
    assert not source.has_database(99)
    assert source.has_database(3)


def test_a_killed_connection_stays_dead_and_says_so(source: Server) -> None:
    connection = source.new_connection()
    number = connection.client_id()
    source.connection().call("CLIENT", "KILL", "ID", number)
    for _ in range(2):
        with pytest.raises(ConnectionLost, match=rf"127\.0\.0\.1:{connection.port}"):
            connection.call("PING")


def test_a_subscription_is_read_as_it_comes(source: Server) -> None:
    with source.new_connection() as subscriber:
        subscriber.send("SUBSCRIBE", "news")
        assert subscriber.read_reply(5) == [b"subscribe", b"news", 1]
        assert subscriber.read_reply(0.01) is None
        source.connection().call("PUBLISH", "news", "hello")
        assert subscriber.read_reply(5) == [b"message", b"news", b"hello"]
        subscriber.send("PING", "token")
        assert subscriber.read_reply(5) == [b"pong", b"token"]


def test_nobody_there_is_one_sentence() -> None:
    with pytest.raises(ConnectionRefused, match="refused the connection"):
        Server.open(ServerAddress("127.0.0.1", free_port()))


def test_a_wrong_or_missing_password_is_named_and_not_shown() -> None:
    with redis_server(password="right-key") as server:
        for password in ("wrong-key", None):
            address = ServerAddress("127.0.0.1", server.port)
            with pytest.raises(AuthenticationFailed) as caught:
                Server.open(address.with_password(password) if password else address)
            assert "wrong-key" not in str(caught.value)
            assert str(server.port) in str(caught.value)


def test_certificates_and_host_names_are_checked(tmp_path: Path) -> None:
    files = make_tls(tmp_path / "right")
    foreign = make_tls(tmp_path / "foreign", names=["elsewhere.example"], addresses=[])
    with redis_server(tls=files) as server:
        Server.open(server.address).close()
        with pytest.raises(CertificateRejected, match="not accepted"):
            Server.open(ServerAddress("127.0.0.1", server.port, tls=True))
        with pytest.raises(ConnectionLost, match="rediss://"):
            Server.open(ServerAddress("127.0.0.1", server.port))
    with redis_server(tls=foreign) as server, pytest.raises(CertificateRejected, match=r"accepted for 127\.0\.0\.1"):
        Server.open(server.address)
    # A plain Redis waits for the end of what it takes for a command.
    with redis_server() as server, pytest.raises(ServerTimeout, match="check that the port is a TLS port"):
        Connection(
            ServerAddress("127.0.0.1", server.port, tls=True, ca_file=str(files.authority)), connect_timeout_s=0.5
        )


def test_authorities_are_read_once_and_again_when_they_change(tmp_path: Path) -> None:
    files = make_tls(tmp_path)
    own = tmp_path / "own.pem"
    own.write_bytes(files.authority.read_bytes())
    made = _tls_context(str(own))
    assert _tls_context(str(own)) is made

    foreign = make_tls(tmp_path / "foreign")
    own.write_bytes(foreign.authority.read_bytes() * 2)

    assert _tls_context(str(own)) is not made


def test_what_is_not_redis_is_said_to_be_none() -> None:
    impostor = _impostor(lambda client: client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n"))
    with impostor as port, pytest.raises(ProtocolViolation, match="does not answer as a Redis server"):
        Server.open(ServerAddress("127.0.0.1", port))


def test_a_server_that_says_nothing_times_out() -> None:
    with _impostor(lambda client: None) as port, pytest.raises(ServerTimeout, match="did not answer within"):
        Connection(ServerAddress("127.0.0.1", port), connect_timeout_s=0.3)


def test_refusals_of_a_server_get_their_names(opened: Callable[[str, int], Server]) -> None:
    for option, value, error in (("--maxmemory", "1kb", OutOfMemory), ("--replicaof", "127.0.0.1 1", ReadOnlyServer)):
        with (
            redis_server(options=[option, *value.split()]) as server,
            server.connect() as connection,
            pytest.raises(error),
        ):
            connection.call("SET", "a", 1)
    with pytest.raises(CommandBlocked, match="does not allow NOSUCH"):
        opened("7.0", 0).connection().call("NOSUCH", "secret argument")


def test_a_cluster_is_found_and_keys_go_where_they_belong() -> None:
    with redis_cluster(3) as cluster, Server.open(cluster.address) as server:
        assert server.clustered
        assert len(server.nodes) == 3
        commands = [(b"key%d" % number, ("SET", b"key%d" % number, number)) for number in range(300)]
        assert set(server.execute(commands)) == {b"OK"}
        assert server.databases() == {0: 300}
        found = {key for node in server.nodes for batch in server.scan(node) for key in batch}
        assert len(found) == 300
        # A slot that moves while we think we know where it is: MOVED is followed, ASK too.
        owner = server.node_for(b"key1")
        other = next(node for node in server.nodes if node != owner)
        slot = server.connection().call("CLUSTER", "KEYSLOT", "key1")
        with server.new_connection(owner) as giving, server.new_connection(other) as taking:
            taking.call("CLUSTER", "SETSLOT", slot, "IMPORTING", owner.node_id)
            giving.call("CLUSTER", "SETSLOT", slot, "MIGRATING", other.node_id)
            keys = giving.call("CLUSTER", "GETKEYSINSLOT", slot, 100)
            for key in keys:
                giving.call("MIGRATE", other.host, other.port, key, 0, 5000)
            assert server.execute([(b"key1", ("GET", "key1"))]) == [b"1"], "ASK is followed"
            for node in server.nodes:
                with server.new_connection(node) as told:
                    told.call("CLUSTER", "SETSLOT", slot, "NODE", other.node_id)
        assert server.execute([(b"key1", ("GET", "key1"))]) == [b"1"], "MOVED is followed"
        assert server.node_for(b"key1") == next(node for node in server.nodes if node.node_id == other.node_id)


class _impostor:
    """A listener that is no Redis."""

    def __init__(self, answer: Callable[[socket.socket], object]) -> None:
        self.answer = answer

    def __enter__(self) -> int:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()
        return int(self.listener.getsockname()[1])

    def _serve(self) -> None:
        client, _ = self.listener.accept()
        with client:
            client.recv(1000)
            self.answer(client)
            self.done.wait(5)

    def __exit__(self, *_: object) -> None:
        self.done.set()
        self.thread.join(10)
        self.listener.close()


def test_an_error_of_ours_is_always_a_dataplane_error() -> None:
    with pytest.raises(DataPlaneError):
        Server.open(ServerAddress("no-such-host.invalid"))
