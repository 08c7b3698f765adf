"""What the tests with the real engine share: one local Azure a file, and a move in a stack of its own."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.local_cloud import REPOSITORY, LocalCloud
from tests.support.move import Move

_NUMBERS = itertools.count(1)


@pytest.fixture(scope="session", autouse=True)
def _tools_on_path() -> Iterator[None]:
    """The repository's own Pulumi comes before any other."""
    before = os.environ["PATH"]
    os.environ["PATH"] = f"{REPOSITORY / '.tools' / 'bin'}{os.pathsep}{before}"
    assert shutil.which("pulumi"), "the engine tests need pulumi: run `make setup`"
    yield
    os.environ["PATH"] = before


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    """A local Azure for the tests of one file."""
    home = tmp_path_factory.mktemp("azure")
    running = LocalCloud.start(home)
    try:
        yield running
    finally:
        running.stop()


@pytest.fixture
def new_move(cloud: LocalCloud, tmp_path: Path) -> Callable[..., Move]:
    """Make a seeded source and an empty stack that is to move it; names are new each time."""

    def make(*, keys: int = 300, seed: dict[str, object] | None = None, **config: object) -> Move:
        number = next(_NUMBERS)
        return Move.new(cloud, tmp_path / f"stack{number}", number, keys=keys, seed=seed or {}, config=config)

    return make
