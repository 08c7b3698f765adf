"""No secret that was ever issued stands in plain text anywhere after a whole move."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from redismove import stages
from tests.support.move import Move

pytestmark = [pytest.mark.engine, pytest.mark.slow]

_TOKEN = re.compile(rb"eyJ[A-Za-z0-9_-]{20,}\.[A-Za-z0-9_-]+\.")
_SIGNATURE = re.compile(rb"[?&]sig=[A-Za-z0-9%+/]{16,}")
# What only the local Azure itself reads: its own certificates' keys, its state, and the servers' configuration.
_ITS_OWN = ("tls", "config.json", "state.json", "redis")


def _issued(move: Move) -> set[bytes]:
    secrets = {move.cloud.environment[name].encode() for name in ("ARM_CLIENT_SECRET", "PULUMI_CONFIG_PASSPHRASE")}
    with move.azure() as caches:
        for name in (move.source_name, move.target_name):
            if caches.state(move.cache_id(name)) not in ("", "Creating"):
                secrets |= {key.encode() for key in caches.access_keys(move.cache_id(name)) if key}
    return secrets


def _texts(folder: Path) -> Iterator[tuple[Path, bytes]]:
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            content = path.read_bytes()
            yield path, gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content


@pytest.mark.timeout(900)
def test_no_secret_stands_in_state_outputs_logs_or_the_request_log(new_move: Callable[..., Move]) -> None:
    move = new_move(keys=50)
    printed: list[str] = []
    secrets = _issued(move)
    for stage in stages.STAGES:
        taken = move.stack.stage(stage, "--logtostderr", "-v=9") if stage == stages.CUTOVER else move.stack.stage(stage)
        assert taken.ok, taken
        if stage != stages.CUTOVER:  # the engine's own log at this level names what it sends to providers
            printed.append(taken.output)
        printed.append(move.stack.pulumi("stack", "output", "--json", "--stack", "dev").output)
        printed.append(move.stack.pulumi("stack", "export", "--stack", "dev").output)
        secrets |= _issued(move)
    assert len(secrets) >= 2 + 2 + 2 + 2, "both keys of both caches, and the source's two after the fence"

    places = {Path("printed"): "\n".join(printed).encode()}
    places |= dict(_texts(move.stack.folder))
    places |= {
        path: content
        for path, content in _texts(move.cloud.home)
        if not any(part in _ITS_OWN for part in path.relative_to(move.cloud.home).parts)
    }

    for path, content in places.items():
        found = sorted(secret[:4] + b"..." for secret in secrets if secret in content)
        assert not found, f"{path} holds {found}"
        assert not _TOKEN.search(content), f"{path} holds a token"
        assert not _SIGNATURE.search(content), f"{path} holds the signature of a SAS"


def test_the_search_sees_a_secret(tmp_path: Path) -> None:
    """A test that cannot fail proves nothing."""
    (tmp_path / "a.gz").write_bytes(gzip.compress(b"x eyJhbGciOiJub25lIn0abcdefgh.eyJhIjoxfQ.sig"))

    assert any(_TOKEN.search(content) for _, content in _texts(tmp_path))
