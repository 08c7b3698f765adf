"""A move put aside at each of its stages, cloud and state together, and put back as often as a test likes."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.support.move import Move


@dataclass
class Shelf:
    """Copies of one local Azure and one stack, by name; everything else in that local Azure comes along."""

    move: Move
    folder: Path

    @classmethod
    def of(cls, move: Move, folder: Path, *stages: str) -> Shelf:
        """Take *move* through *stages* and put it aside before the first, as "", and after each."""
        shelf = cls(move, folder)
        shelf.put_aside("")
        for stage in stages:
            move.go_to(stage)
            shelf.put_aside(stage)
        return shelf

    def put_aside(self, name: str) -> None:
        """Copy everything as it is now; the local Azure is stopped meanwhile, so that the copy is whole."""
        self._stopped(lambda here, aside: shutil.copytree(here, aside, symlinks=True), name)

    def put_back(self, name: str) -> None:
        """Bring everything to what it was when it was put aside as *name*."""

        def copy(here: Path, aside: Path) -> None:
            shutil.rmtree(here)
            shutil.copytree(aside, here, symlinks=True)

        self._stopped(copy, name)

    def _stopped(self, copy: Callable[[Path, Path], object], name: str) -> None:
        self.move.cloud.local("stop")
        try:
            for kind, here in (("cloud", self.move.cloud.home), ("stack", self.move.stack.folder)):
                copy(here, self.folder / f"at-{name}" / kind)
        finally:
            self.move.cloud.local("start")
