"""Progress of long data-plane work: a live bar on a terminal, a line every few seconds in a log, JSON for machines."""

from __future__ import annotations

import json
import sys
import time
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

LINE_EVERY_S = 5.0
JSON_EVERY_S = 1.0


class ProgressLine(AbstractContextManager["ProgressLine"]):
    """Shows `done` of `total` and a text; everything goes to standard error, results go to standard output."""

    def __init__(self, title: str, *, as_json: bool = False) -> None:
        """
        Choose by what standard error is.

        Args:
            title: what is being done, one word.
            as_json: one JSON object a line instead of words.
        """
        self.title = title
        self.as_json = as_json
        self._shown_at = time.monotonic()
        self._bar: Progress | None = None
        if not as_json and sys.stderr.isatty():
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TaskProgressColumn(),
                TextColumn("{task.fields[text]}"),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._task = self._bar.add_task(title, total=None, text="")

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, done: int, total: int, text: str, numbers: dict[str, Any]) -> None:
        """
        Report where it is.

        Args:
            done: of `total`, in the same unit; `total` is an estimate.
            total: 0 when unknown.
            text: rates and the like, for people.
            numbers: the same for machines.
        """
        total = max(total, done)
        if self._bar is not None:
            self._bar.update(self._task, completed=done, total=total or None, text=text)
            return
        now = time.monotonic()
        if now - self._shown_at < (JSON_EVERY_S if self.as_json else LINE_EVERY_S):
            return
        self._shown_at = now
        if self.as_json:
            line = json.dumps({"progress": self.title, "done": done, "expected": total, **numbers})
        elif not total:
            line = f"{self.title}: {text}"
        else:
            line = f"{self.title}: {100 * done // total} % ({done:,} of about {total:,}), {text}"
        self.say(line)

    def notice(self, sentence: str) -> None:
        """Something that happened, as a line of its own."""
        self.say(json.dumps({"notice": sentence}) if self.as_json else sentence)

    def say(self, line: str) -> None:
        """A line of its own, above the bar where there is one."""
        if self._bar is not None:
            self._bar.console.print(line, highlight=False, markup=False)
        else:
            sys.stderr.write(line + "\n")
            sys.stderr.flush()
