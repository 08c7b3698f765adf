"""
Delete hooks: the last look at the live systems before the engine deletes anything.

They run in previews too, and they are the only gate that `pulumi up --target`, `--exclude` and `pulumi destroy
--run-program` do not go round. Their names never change: the state remembers them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import pulumi

from redismove import rules, stages
from redismove.azure.caches import same
from redismove.errors import RedismoveError
from redismove.facts import Move
from redismove.steps.link import wait_until_unlinked
from redismove.steps.survey import Survey

Look = Callable[[], Survey]
_BUSY: Final = ("Conflict", "busy processing", "AnotherOperationInProgress")
_MOST_TRIES: Final = 20


def _of_cache(resource_id: str) -> str:
    """Return the id of the cache that a resource is: of the cluster, for a managed cache's database."""
    return resource_id.partition("/databases/")[0]


class DeletionRefused(RedismoveError):
    """A deletion that the rules do not allow now."""


def _refuse_unless_allowed(move: Move) -> None:
    findings = rules.refusals(move)
    if findings:
        raise DeletionRefused(rules.sentence(findings))


class Guards:
    """The hooks of one program run. *look* reads everything anew."""

    def __init__(self, look: Look) -> None:
        self._look = look
        self._tries: dict[str, int] = {}
        in_preview_too = pulumi.ResourceHookOptions(on_dry_run=True)
        busy = pulumi.ErrorHook("redismove-wait-while-busy", self._wait_while_busy)
        self.link = pulumi.ResourceHookBinding(
            before_delete=[pulumi.ResourceHook("redismove-link-before-delete", self._link, in_preview_too)],
            after_delete=[pulumi.ResourceHook("redismove-link-after-delete", self._link_gone)],
            on_error=[busy],
        )
        self.source = pulumi.ResourceHookBinding(
            before_delete=[pulumi.ResourceHook("redismove-source-before-delete", self._source, in_preview_too)],
            on_error=[busy],
        )
        self.target = pulumi.ResourceHookBinding(
            before_delete=[pulumi.ResourceHook("redismove-target-before-delete", self._target, in_preview_too)],
            on_error=[busy],
        )

        self.endpoint = pulumi.ResourceHookBinding(
            before_delete=[pulumi.ResourceHook("redismove-endpoint-before-delete", self._endpoint, in_preview_too)]
        )

    def _wait_while_busy(self, args: pulumi.ErrorHookArgs) -> bool:
        """
        Try an operation again that Azure refused because another one runs on the cache.

        Azure runs one management operation at a time a cache, and the azure-native provider gives up at the first
        refusal. Looking waits until both caches are settled.
        """
        latest = args.errors[0] if args.errors else ""
        if "retiring" in latest:
            pulumi.log.error(
                f"{args.name}: Azure refuses to make a cache of this kind here, as the product retires; nothing has "
                "changed; name a target that exists already, or move to Azure Managed Redis [RM-T15]"
            )
            return False
        tries = self._tries.get(args.urn, 0)
        if not any(word in latest for word in _BUSY) or tries >= _MOST_TRIES:
            return False
        self._tries[args.urn] = tries + 1
        self._look()
        return True

    def _link(self, args: pulumi.ResourceHookArgs) -> None:
        survey = self._look()
        move = survey.move
        if stages.declaration(move.method, move.stage).replication:
            raise DeletionRefused(
                f'link {args.id}: found stage "{move.stage}", which keeps the link, allowed a stage without it; '
                "set redismove:stage to unlink, or go back to prepare [RM-S01]"
            )
        _refuse_unless_allowed(move)

    def _link_gone(self, args: pulumi.ResourceHookArgs) -> None:
        del args
        survey = self._look()
        wait_until_unlinked(
            survey.move.source_id,
            survey.move.target_id,
            timeout_s=survey.settings.settle_minutes * 60,
            tell=pulumi.log.info,
        )

    def _source(self, args: pulumi.ResourceHookArgs) -> None:
        survey = self._look()
        move = survey.move
        if not same(_of_cache(args.id), move.source_id):
            raise DeletionRefused(
                f"cache {args.id}: found another cache configured as the source ({move.source_id}), allowed the "
                "cache that was "
                "adopted; put redismove:source back [RM-S02]"
            )
        if move.stage != stages.CLEANUP:
            raise DeletionRefused(
                f'source {args.id}: found stage "{move.stage}", allowed only cleanup to delete the source; take '
                "the move to its end, "
                "or remove the stack with `pulumi stack rm` and keep the cache [RM-S01]"
            )
        _refuse_unless_allowed(move)

    def _target(self, args: pulumi.ResourceHookArgs) -> None:
        survey = self._look()
        move = survey.move
        if move.endpoint is not None and same(move.endpoint.resource_id, _of_cache(args.id)):
            raise DeletionRefused(
                f"target {args.id}: found applications sent to it, allowed only a cache that nobody uses; cut over "
                "to the source "
                "first: go back one stage before cutover [RM-L13]"
            )
        if stages.declaration(move.method, move.stage).target:
            raise DeletionRefused(
                f'target {args.id}: found stage "{move.stage}", which keeps the target, allowed only adopt to '
                "give it up; set "
                "redismove:stage to adopt [RM-S01]"
            )
        _refuse_unless_allowed(move)

    def _endpoint(self, args: pulumi.ResourceHookArgs) -> None:
        """
        Every stage declares the Endpoint, so only `pulumi destroy` comes here; what it depends on is deleted after it.
        """
        raise DeletionRefused(
            f'{args.name}: found a `pulumi destroy` of stack "{pulumi.get_stack()}", allowed none, as it holds a move; '
            "to give the move up go back to adopt, then `pulumi stack rm --force` forgets the stack and leaves every "
            "cache [RM-S01]"
        )
