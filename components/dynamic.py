"""
The base of the dynamic resources of this program.

A dynamic provider lives in a process of its own. It is pickled by reference and captures nothing, so that neither a key
nor a fact travels inside it; what it needs it reads itself, from the environment and from its inputs.
"""

from __future__ import annotations

import sys
import traceback
from types import SimpleNamespace
from typing import Any

from pulumi.dynamic import CreateResult, DiffResult, ReadResult, ResourceProvider, UpdateResult

from redismove.errors import RedismoveError


def _tell_known_errors_in_one_sentence() -> None:
    """
    Let the SDK's dynamic provider answer with our sentence instead of a traceback.

    `pulumi.dynamic` formats every exception with `traceback.format_exc`. What a user can cause is a
    `RedismoveError` whose text is the whole message; everything else keeps its traceback. Outside the provider's
    process nothing is changed.
    """
    main = sys.modules.get("__main__")
    if main is None or not hasattr(main, "DynamicResourceProviderServicer"):
        return

    def format_exc() -> str:
        error = sys.exc_info()[1]
        return str(error) if isinstance(error, RedismoveError) else traceback.format_exc()

    main.traceback = SimpleNamespace(format_exc=format_exc)  # type: ignore[attr-defined]


_tell_known_errors_in_one_sentence()

_RESERVED = "__provider"


def told(text: str) -> None:
    """Print one line of progress; the engine shows what a provider prints while the operation runs."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def inputs_of(properties: dict[str, Any]) -> dict[str, Any]:
    """Return *properties* without what the SDK adds."""
    return {key: value for key, value in properties.items() if key != _RESERVED}


class Provider(ResourceProvider):
    """
    A provider whose outputs are its inputs and what `work` returns.

    `work` does what the resource stands for; it must be safe to run again, since a killed update runs it again.
    `significant` names the inputs whose change makes an update; all others are facts that only the gates read.
    """

    serialize_as_secret_always = False
    significant: tuple[str, ...] = ()

    def work(self, news: dict[str, Any], olds: dict[str, Any] | None) -> dict[str, Any]:
        """
        Do the work for inputs *news*; *olds* are the last outputs, None at the first time. Return the outputs to add.
        """
        raise NotImplementedError

    def undo(self, olds: dict[str, Any]) -> None:
        """Do what leaving the state asks for; most resources only read and have nothing to undo."""

    def create(self, props: dict[str, Any]) -> CreateResult:
        """Work for the first time."""
        news = inputs_of(props)
        return CreateResult(self.identity(news), {**news, **self.work(news, None)})

    def update(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> UpdateResult:
        """Work again."""
        news = inputs_of(_news)
        return UpdateResult({**news, **self.work(news, inputs_of(_olds))})

    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        """Return what is recorded: what was found or done at that time does not change afterwards."""
        return ReadResult(id_, dict(props))

    def delete(self, _id: str, _props: dict[str, Any]) -> None:
        """Leave the state."""
        self.undo(inputs_of(_props))

    def diff(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> DiffResult:
        """Say whether a significant input changed."""
        return DiffResult(changes=any(_olds.get(key) != _news.get(key) for key in self.significant))

    def identity(self, news: dict[str, Any]) -> str:
        """Return the id of the resource in the state."""
        return f"{type(self).__name__.removesuffix('Provider')}:{news.get('sourceId', '')}"
