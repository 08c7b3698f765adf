"""Serves the language host until the engine has no more use for it."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from concurrent import futures
from pathlib import Path

import grpc

from language_host.lifetime import watch_parent
from language_host.protocol import CHANNEL_OPTIONS, language_pb2_grpc
from language_host.service import LanguageHost

#: Calls at once: a program, policy packs and the questions of `pulumi about` run beside each other.
MAX_CALLS = 32
EXECUTOR_NAME = "pulumi-language-python-exec"


def main() -> None:
    """Print the port that the host listens on, and serve until interrupted or alone."""
    arguments = _parse_arguments()
    host = LanguageHost(arguments.engine, arguments.use_executor, arguments.host_version, arguments.tracing)
    over = threading.Event()
    # The engine ends its plugins with an interrupt, so that is an ordinary end: no traceback, exit code 0.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda _number, _frame: over.set())
    watch_parent(over.set)

    server = grpc.server(futures.ThreadPoolExecutor(max_workers=MAX_CALLS), options=CHANNEL_OPTIONS)
    language_pb2_grpc.add_LanguageRuntimeServicer_to_server(host, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()

    over.wait()
    host.children.end_all()
    server.stop(grace=None)
    sys.stdout.flush()
    # Worker threads may still hang in calls that nobody reads any more; the interpreter would wait for them.
    os._exit(0)


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="pulumi-language-python", description="Pulumi's language host for Python")
    parser.add_argument("engine", nargs="?", default="", help="address of the engine, host:port")
    parser.add_argument("--tracing", default="", help="endpoint for traces")
    parser.add_argument(
        "--use-executor",
        type=Path,
        default=Path(os.environ.get("PULUMI_LANGUAGE_PYTHON_EXEC", EXECUTOR_NAME)),
        help=f"path of {EXECUTOR_NAME}",
    )
    parser.add_argument("--host-version", default="", help="version to answer; the Pulumi command line's own")
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    parser.add_argument("--logtostderr", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("-v", dest="verbosity", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.version:
        sys.stdout.write(f"{arguments.host_version}\n")
        sys.exit(0)
    return arguments
