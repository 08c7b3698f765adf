"""Copying key by key: that the copy was complete, and what a large one needs."""

from __future__ import annotations

from typing import Final

from redismove import stages
from redismove.facts import Move
from redismove.rules import pages
from redismove.rules.model import Broken, Level, Rule
from redismove.rules.subjects import carried, gigabytes, known, source_called, target_called

_COPY: Final = frozenset({stages.COPY})
LARGE_BYTES: Final = 10 * 1024**3
"""Above this a copy is better run near the source than inside `pulumi up`: it takes minutes."""


def _complete(move: Move) -> Broken | None:
    called = f"the copy of {source_called(move)}"
    again = "go back to replicate, which goes on where it was: `pulumi config set redismove:stage replicate`"
    if not carried(move):
        return Broken(thing=called, found="not finished", allowed=f"all keys in {target_called(move)}", cure=again)
    record = known(move.carried)
    if record.keys_written >= record.keys_read:
        return None
    return Broken(
        thing=called,
        found=f"{record.keys_written} of {record.keys_read} keys written",
        allowed="as many as were read",
        cure=again,
    )


def _near_source(move: Move) -> Broken | None:
    used = known(move.source).used_memory_bytes
    if used is None or used <= LARGE_BYTES:
        return None
    return Broken(
        thing=source_called(move),
        found=f"{gigabytes(used)} of data",
        allowed=f"{gigabytes(LARGE_BYTES)} or less for a copy from where `pulumi up` runs",
        cure="run the copy as a job in the source's region (redismove:copyJob true)",
    )


RULES: tuple[Rule, ...] = (
    Rule(
        id="RM-C01",
        title="the copy is complete before it is verified",
        source=pages.article("Automate the copying of data; the copy process could take a while to complete."),
        methods=_COPY,
        stages=frozenset({stages.VERIFY}),
        check=_complete,
    ),
    Rule(
        id="RM-C02",
        title="a large copy runs near the source",
        source=pages.article(
            "Create a VM in the region of the existing cache; a powerful one if the dataset is large."
        ),
        methods=_COPY,
        stages=frozenset({stages.PREPARE, stages.REPLICATE}),
        applies=lambda move: move.source is not None and not carried(move),
        check=_near_source,
        level=Level.ADVISORY,
        severity="low",
    ),
)
