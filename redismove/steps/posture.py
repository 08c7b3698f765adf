"""What the target is given back once the move needs it otherwise no longer: persistence, the source's notifications."""

from __future__ import annotations

from dataclasses import dataclass

from redismove.azure.caches import CacheId, Caches
from redismove.azure.session import Session
from redismove.azure.storage import connection_string
from redismove.steps.access import Tell


@dataclass(frozen=True, kw_only=True)
class Posture:
    """
    What the target is to have; plain values, so that it can travel through Pulumi.

    `persistence` is "rdb", "aof" or "", into `account_id`; `frequency_minutes` and `snapshots` are those of "rdb".
    `notifications` is the `notify-keyspace-events` to set, None to leave it.
    """

    target_id: str
    persistence: str = ""
    account_id: str = ""
    frequency_minutes: int = 60
    snapshots: int = 1
    notifications: str | None = None

    @property
    def settings(self) -> dict[str, str]:
        """The settings of the persistence that is asked for, by Azure's names; the secret one is not among them."""
        if self.persistence == "rdb":
            return {
                "rdb-backup-enabled": "true",
                "rdb-backup-frequency": str(self.frequency_minutes),
                "rdb-backup-max-snapshot-count": str(self.snapshots),
            }
        return {"aof-backup-enabled": "true"} if self.persistence == "aof" else {}


def put_on(asked: Posture, *, timeout_s: float, tell: Tell) -> None:
    """
    Set what the target lacks of it; nothing where it is there already.

    Raises:
        AzureError: Azure refused, or it was not done within *timeout_s* seconds.
    """
    caches = Caches.of(asked.target_id)
    target = caches.settled(asked.target_id, timeout_s=timeout_s, tell=tell)
    if target is None:
        return  # the rules have told of it
    if any(target.redis_configuration.get(name, "").lower() != value for name, value in asked.settings.items()):
        tell(f'target "{target.name}": switching {asked.persistence.upper()} persistence on')
        secret = "rdb-storage-connection-string" if asked.persistence == "rdb" else "aof-storage-connection-string-0"
        session = Session.from_environment(CacheId.parse(asked.target_id).subscription_id)
        revealed = connection_string(session, asked.account_id).reveal()
        caches.configure(asked.target_id, {**asked.settings, secret: revealed}, timeout_s=timeout_s)
    if asked.notifications is not None and target.notify_keyspace_events != asked.notifications:
        tell(f'target "{target.name}": setting notify-keyspace-events to "{asked.notifications}", as the source had it')
        caches.set_notifications(asked.target_id, asked.notifications, timeout_s=timeout_s)


def take_off(target_id: str, *, timeout_s: float, tell: Tell) -> None:
    """Switch persistence off again, as a link asks for; nothing where the target is gone or has none."""
    caches = Caches.of(target_id)
    target = caches.settled(target_id, timeout_s=timeout_s, tell=tell)
    if target is None or not (target.rdb_backup_enabled or target.aof_backup_enabled):
        return
    tell(f'target "{target.name}": switching persistence off again')
    off = {"rdb-backup-enabled": "false", "aof-backup-enabled": "false"}
    caches.configure(target_id, off, timeout_s=timeout_s)
