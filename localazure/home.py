"""
The folder that holds everything a local Azure knows.

```
HOME/config.json     identity of this home: port, tenant, secrets (0600); written once
HOME/settings.json   switches a person may change while it runs: durations, retired regions, CLIENT PAUSE, versions
HOME/state.json      caches, links, operations (0600); written atomically at each change
HOME/tls/            own certificate authority and the leaf certificates
HOME/redis/<cache>/  one folder a cache: configuration, data, log of each redis-server
HOME/blobs/          the storage accounts' blobs, kept by Azurite
HOME/containers/     one folder a container: working folder and log of its process
HOME/logs/           requests.jsonl (no headers, no bodies, no query but api-version) and server.log
HOME/bin/            the provider stand-in, first on PATH for the local cloud
HOME/pulumi/         a state backend for Pulumi
```
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import uuid
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from localazure.errors import LocalAzureError

DEFAULT_HOME = Path(".localazure")
LOCK_HOST_OCTET = 254
"""Address 127.a.b.254 is never given to a cache: the server listens there to hold the prefix 127.a.b for this home."""
LOCK_PORT = 6380


def write_private(path: Path, text: str) -> None:
    """
    Replace a file atomically and readable by its owner alone.

    Args:
        path: the file; its folder exists.
        text: the whole new content.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(temporary, path)


class HomeConfig(BaseModel):
    """What makes this home different from every other; made once and never changed."""

    port: int
    address_prefix: str
    tenant_id: str
    client_id: str
    client_secret: str = Field(repr=False)
    object_id: str
    subscription_id: str
    subscription_id_2: str
    token_signing_key: str = Field(repr=False)
    redis_admin_secret: str = Field(repr=False)
    redis_replication_secret: str = Field(repr=False)
    pulumi_passphrase: str = Field(repr=False)


class Settings(BaseModel):
    """
    Switches that may be changed while the server runs: it reads `HOME/settings.json` again when the file has changed.

    Attributes:
        durations: `short` (fractions of a second), `real` (Azure's minutes), or seconds by operation over `short`.
        retired: regions in which the creation of a cache is refused, as Azure refuses it since the product retires.
        enterprise_open: Enterprise and Enterprise Flash can be created, as they could before 2026-04-01.
        client_pause: semantics of CLIENT PAUSE for new caches whose version is not asked for: 6.0 (Azure's) or 6.2.
        client_pause_by_cache: the same for single caches, also for caches that exist.
        redis_version_by_cache: the version that ARM reports for a cache, to try rules about versions.
        memory_scale: what a cache's memory is divided by (P1 = 6000 MB / 16 = 375 MB).
        admin: the fault-injection endpoint answers.
    """

    model_config = ConfigDict(extra="forbid")

    durations: Literal["short", "real"] | dict[str, float] = "short"
    retired: list[str] = []
    enterprise_open: bool = False
    client_pause: Literal["6.0", "6.2"] = "6.0"
    client_pause_by_cache: dict[str, Literal["6.0", "6.2"]] = {}
    redis_version_by_cache: dict[str, str] = {}
    memory_scale: float = 16
    admin: bool = False


class Home:
    """Paths, identity and switches of one local Azure."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.tls = self.root / "tls"
        self.redis = self.root / "redis"
        self.blobs = self.root / "blobs"
        self.containers = self.root / "containers"
        self.logs = self.root / "logs"
        self.bin = self.root / "bin"
        self.pulumi = self.root / "pulumi"
        self.config_file = self.root / "config.json"
        self.settings_file = self.root / "settings.json"
        self.state_file = self.root / "state.json"
        self.lock_file = self.root / "server.lock"
        self.server_log = self.logs / "server.log"
        self.azurite_log = self.logs / "azurite.log"
        self.request_log = self.logs / "requests.jsonl"
        self.ca_file = self.tls / "ca.pem"
        self.ca_bundle = self.tls / "bundle.pem"
        self._config: HomeConfig | None = None
        self._settings: tuple[int, Settings] | None = None

    @property
    def exists(self) -> bool:
        """Tell whether a local Azure was ever started here."""
        return self.config_file.exists()

    @property
    def config(self) -> HomeConfig:
        """
        Give the identity of this home.

        Raises:
            LocalAzureError: there is none, or the file is damaged.
        """
        if self._config is None:
            try:
                self._config = HomeConfig.model_validate_json(self.config_file.read_text("utf-8"))
            except FileNotFoundError:
                raise LocalAzureError(
                    f"no local Azure at {self.root}: start one with `redismove local start --home {self.root}`."
                ) from None
            except ValidationError as error:
                raise LocalAzureError(
                    f"{self.config_file} is damaged ({error.error_count()} wrong fields): remove the folder "
                    f"{self.root} and start again."
                ) from None
        return self._config

    @property
    def endpoint(self) -> str:
        """Give the ARM endpoint, without a trailing slash."""
        return f"https://localhost:{self.config.port}"

    @property
    def settings(self) -> Settings:
        """
        Give the switches as they are now.

        Raises:
            LocalAzureError: the file does not hold what is allowed.
        """
        try:
            changed_ns = self.settings_file.stat().st_mtime_ns
        except FileNotFoundError:
            return Settings()
        if self._settings is None or self._settings[0] != changed_ns:
            try:
                settings = Settings.model_validate_json(self.settings_file.read_text("utf-8"))
            except ValidationError as error:
                first = error.errors()[0]
                where = ".".join(str(part) for part in first["loc"])
                raise LocalAzureError(f"{self.settings_file}: {where}: {first['msg']}.") from None
            self._settings = (changed_ns, settings)
        return self._settings[1]

    def change_settings(self, **changes: object) -> Settings:
        """
        Write some switches; the others stay.

        Args:
            changes: fields of `Settings`.

        Raises:
            LocalAzureError: a value is not allowed.
        """
        merged = self.settings.model_dump() | changes
        try:
            settings = Settings.model_validate(merged)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise LocalAzureError(f"setting {where}: {first['msg']}, found {first['input']!r}.") from None
        write_private(self.settings_file, settings.model_dump_json(indent=2) + "\n")
        return settings

    def create(self) -> None:
        """Make the folders and, the first time, the identity: a free port and a free address prefix."""
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            for folder in (self.tls, self.redis, self.logs, self.bin, self.pulumi):
                folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise LocalAzureError(f"cannot make the folder {self.root}: {error.strerror}.") from None
        if self.exists:
            return
        config = HomeConfig(
            port=_free_port(),
            address_prefix=_free_prefix(),
            tenant_id=str(uuid.uuid4()),
            client_id=str(uuid.uuid4()),
            client_secret=secrets.token_urlsafe(30),
            object_id=str(uuid.uuid4()),
            subscription_id=str(uuid.uuid4()),
            subscription_id_2=str(uuid.uuid4()),
            token_signing_key=secrets.token_hex(32),
            redis_admin_secret=secrets.token_hex(32),
            redis_replication_secret=secrets.token_hex(32),
            pulumi_passphrase=secrets.token_urlsafe(18),
        )
        write_private(self.config_file, json.dumps(config.model_dump(), indent=2) + "\n")


def can_listen(host: str, port: int) -> bool:
    """Tell whether nobody listens on an address of this machine."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def _free_port() -> int:
    # Below the ephemeral range: a client's outgoing connection must not hold the port while the server is stopped.
    for _ in range(200):
        port = 20000 + secrets.randbelow(4900)
        if can_listen("127.0.0.1", port):
            return port
    raise LocalAzureError(
        "no free port between 20000 and 24899 on 127.0.0.1: end some of the servers that listen there."
    )


def _free_prefix() -> str:
    for _ in range(200):
        prefix = f"127.{1 + secrets.randbelow(254)}.{secrets.randbelow(256)}"
        if can_listen(f"{prefix}.{LOCK_HOST_OCTET}", LOCK_PORT) and can_listen(f"{prefix}.1", LOCK_PORT):
            return prefix
    raise LocalAzureError(
        "no free loopback prefix 127.a.b found in 200 tries: 127.0.0.0/8 must be usable on this machine."
    )
