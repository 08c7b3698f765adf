"""The engine's side of the conversation: its log, where a long operation shows that it is alive."""

from __future__ import annotations

import threading
from typing import Any

import grpc
from pulumi.runtime.proto import engine_pb2, engine_pb2_grpc

LOG_TIMEOUT_S = 5.0


class EngineLog:
    """Sends lines to the engine; without an address, or when the engine is gone, it does nothing."""

    def __init__(self, address: str | None = None) -> None:
        self._lock = threading.Lock()
        self._address: str | None = None
        self._stub: Any = None
        if address:
            self.attach(address)

    def attach(self, address: str) -> None:
        """Talk to the engine at *address* (host:port) from now on."""
        with self._lock:
            if address != self._address:
                self._address = address
                self._stub = engine_pb2_grpc.EngineStub(grpc.insecure_channel(address))

    def status(self, urn: str, message: str) -> None:
        """Show *message* beside the resource while it is worked on; it is not kept."""
        self._log(engine_pb2.INFO, urn, message, ephemeral=True)

    def warning(self, urn: str, message: str) -> None:
        """Show *message* as a warning of the resource."""
        self._log(engine_pb2.WARNING, urn, message)

    def debug(self, message: str) -> None:
        """Keep *message* for those who ask the engine for debug output."""
        self._log(engine_pb2.DEBUG, "", message)

    def _log(self, severity: Any, urn: str, message: str, *, ephemeral: bool = False) -> None:
        stub = self._stub
        if stub is None:
            return
        request = engine_pb2.LogRequest(severity=severity, urn=urn, message=message, ephemeral=ephemeral)
        try:
            stub.Log(request, timeout=LOG_TIMEOUT_S)
        except grpc.RpcError:
            return  # a lost line is no reason to fail the operation that it is about
