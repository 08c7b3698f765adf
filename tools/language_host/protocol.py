"""The engine's protocol: the gRPC stubs of the Pulumi SDK, without the SDK around them.

`import pulumi` loads the whole SDK, which takes three times as long as all the rest of the host's start. The engine
starts a language host twice for one `pulumi up`, and the host needs nothing but the stubs. So their package is loaded
from its folder while the packages above it stay empty.
"""

from __future__ import annotations

import importlib.util
import sys
import types
from pathlib import Path


def _load_stubs_only() -> None:
    if "pulumi" in sys.modules:
        return  # the whole SDK is here already, as in tests
    spec = importlib.util.find_spec("pulumi")
    if spec is None or spec.origin is None:
        sys.exit("The Pulumi SDK for Python is missing beside the language host; run `make setup` in the repository.")
    folder = Path(spec.origin).parent
    for name in ("pulumi", "pulumi.runtime", "pulumi.runtime.proto"):
        package = types.ModuleType(name)
        package.__path__ = [str(folder.joinpath(*name.split(".")[1:]))]
        sys.modules[name] = package


_load_stubs_only()

from pulumi.runtime.proto import (
    analyzer_pb2,
    analyzer_pb2_grpc,
    language_pb2,
    language_pb2_grpc,
    plugin_pb2,
)

__all__ = [
    "CHANNEL_OPTIONS",
    "analyzer_pb2",
    "analyzer_pb2_grpc",
    "language_pb2",
    "language_pb2_grpc",
    "plugin_pb2",
]

#: Pulumi's own limit for a message (`rpcutil.MaxRPCMessageSize`): one may hold a whole stack.
MAX_MESSAGE_BYTES = 400 * 1024 * 1024

#: Settings of every gRPC server and channel of the host.
CHANNEL_OPTIONS = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
)
