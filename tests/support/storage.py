"""Storage accounts of a move under test, made through ARM as somebody would have made them before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from redismove.azure.session import Session
from redismove.azure.storage import open_container
from tests.support.move import GROUP, Move


@dataclass
class Accounts:
    """One storage account in each region of a move, and the container that its files go through."""

    move: Move
    source: str
    target: str
    container: str = "redismove"

    @classmethod
    def of(cls, move: Move, **changes: Any) -> Accounts:
        """Make both accounts and name them in the stack's configuration; *changes* are laid over the target's."""
        stem = move.source_name.replace("-", "").removesuffix("eus")
        source = cls.make(move, f"{stem}east", "eastus")
        made = cls(move, source, cls.make(move, f"{stem}west", str(changes.pop("location", "westus2")), **changes))
        move.stack.configure(storage={"source": made.source, "target": made.target})
        return made

    @staticmethod
    def make(move: Move, name: str, location: str, **changes: Any) -> str:
        """Make an account and return its id."""
        body = {"location": location, "kind": "StorageV2", "sku": {"name": "Standard_LRS"}, "properties": {}} | changes
        with move.azure():
            client = Session.from_environment().storage
            return str(client.storage_accounts.begin_create(GROUP, name, body).result(60).id)

    def names(self, account: str, prefix: str = "rdb-") -> list[str]:
        """Return the names of the blobs in an account's container."""
        with self.move.azure():
            session = Session.from_environment()
            with open_container(session, account, self.container, by_identity=False) as container:
                return [blob.name for blob in container.list(prefix)]

    def open(self, account: str) -> Any:
        """Open an account's container (inside `move.azure()`)."""
        return open_container(Session.from_environment(), account, self.container, by_identity=False)
