"""
Start the plugin: print the port on the first line, then serve until told to stop.

The engine starts it as `pulumi-resource-azure-native ENGINE_ADDRESS` (see wrapper.py), with logging flags before the
address on some occasions.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
from pulumi.runtime.proto import provider_pb2_grpc

from localazure.plugin.engine import EngineLog
from localazure.plugin.lifetime import end_quietly_on_signals, end_with_parent
from localazure.plugin.service import ProviderService
from localazure.plugin.transport import Stop

WORKERS = 128
"""Operations at once; each waits in a thread of its own, and the engine sends as many as its --parallel allows."""

MESSAGE_LIMIT = 400 * 1024 * 1024
"""Bytes in one message, the engine's own limit."""

FALLBACK_VERSION = "3.29.0"


def sdk_version() -> str:
    """Read the version of the installed pulumi_azure_native: the engine compares the plugin's with it."""
    spec = importlib.util.find_spec("pulumi_azure_native")  # finds, and does not load
    for folder in (spec.submodule_search_locations or []) if spec else []:
        try:
            return str(json.loads((Path(folder) / "pulumi-plugin.json").read_text())["version"])
        except (OSError, ValueError, KeyError):
            continue
    return FALLBACK_VERSION


def serve(engine_address: str | None, stop: Stop) -> tuple[grpc.Server, int]:
    """Start the gRPC server on a free loopback port; returns the server and its port."""
    options = [("grpc.max_receive_message_length", MESSAGE_LIMIT), ("grpc.max_send_message_length", MESSAGE_LIMIT)]
    server = grpc.server(ThreadPoolExecutor(max_workers=WORKERS), options=options)
    service = ProviderService(EngineLog(engine_address), stop, sdk_version())
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return server, port


def main(arguments: list[str] | None = None) -> None:
    """Serve until SIGINT, SIGTERM or the end of the parent process; then exit at once, with status 0."""
    parent_pid = os.getppid()
    stop = Stop()
    over = threading.Event()
    end_quietly_on_signals(over.set)
    end_with_parent(parent_pid, over.set)
    given = sys.argv[1:] if arguments is None else arguments
    addresses = [argument for argument in given if not argument.startswith("-")]
    server, port = serve(addresses[-1] if addresses else None, stop)
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()
    over.wait()
    stop.set()
    server.stop(grace=None)
    # requests to Azure may still be under way in other threads: nothing of theirs is to be waited for
    os._exit(0)


if __name__ == "__main__":
    main()
