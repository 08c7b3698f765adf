"""`redismove review`: what a change of a stack would do, judged by every policy, before it is merged."""

from __future__ import annotations

import functools
import os
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from pulumi import automation as auto

from redismove.cli.stack import StackView, as_json
from redismove.cli.status import JsonOption, StackOption
from redismove.errors import RedismoveError
from redismove.review import changed, changes, report, verdict
from redismove.review.post import Platform, PostError, post
from redismove.review.preview import Preview, read
from redismove.review.verdict import ReviewError, Told

ALLOWED, REFUSED, ERROR = 0, 1, 2


@dataclass(frozen=True, kw_only=True)
class Reviewed:
    """What became of one stack: exit status, comment, and the values for --json."""

    status: int
    comment: str
    values: dict[str, Any]
    said: str


def review(
    stack: StackOption = "",
    changed_since: Annotated[
        str, typer.Option(metavar="COMMIT", help="Review each stack that differs from this commit, instead of one.")
    ] = "",
    except_: Annotated[
        list[str] | None, typer.Option("--except", metavar="STACK", help="With --changed-since: leave this one out.")
    ] = None,
    list_: Annotated[
        bool, typer.Option("--list", help="With --changed-since: print the stacks as NAME=[...] lines, review none.")
    ] = False,
    comment_file: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the comment there.")] = None,
    json: JsonOption = False,
    post_: Annotated[
        str, typer.Option("--post", metavar="github|azure", help="Write it into the pull request of this job.")
    ] = "",
    policy_pack: Annotated[
        Path, typer.Option(metavar="FOLDER", help="The policy pack, relative to the project.")
    ] = Path("policies"),
    policy_pack_config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The policy pack's configuration; it may be stricter only.")
    ] = None,
    without_deletions: Annotated[
        bool, typer.Option("--without-deletions", help="Refuse what would delete anything in Azure.")
    ] = False,
) -> None:
    """
    Preview the stack with every policy, change nothing, and tell in one comment what an update would do.

    Exit status 0: allowed. 1: refused by a rule, or the preview failed. 2: it could not be reviewed.
    """
    platform = _platform(post_)
    if changed_since and stack:
        raise ReviewError("--stack and --changed-since: found both, allowed one of them; leave one out")
    if (list_ or except_) and not changed_since:
        raise ReviewError("--list and --except: found no --changed-since, allowed only with it; name a commit")
    stacks = [stack]
    if changed_since:
        touched = changed.since(changed_since, Path.cwd(), without=except_ or ())
        if list_:
            typer.echo(as_json(asdict(touched)) if json else _as_outputs(touched))
            return
        stacks = list(touched.review)
    work = functools.partial(_review, pack=policy_pack, config=policy_pack_config, without_deletions=without_deletions)
    done = [_told(name, work) for name in stacks]
    if not done:
        typer.echo("no stack to review: no configuration and nothing of the program differs", err=True)
    _write(done, comment_file, json=json, one=not changed_since, posted=bool(platform))
    statuses = [one.status for one in done]
    for one in done:
        typer.echo(one.said, err=True)
        if platform and not _posted(platform, one):
            statuses.append(ERROR)
    if any(statuses):
        raise typer.Exit(max(statuses))


def _posted(platform: Platform, one: Reviewed) -> bool:
    try:
        typer.echo(post(platform, one.comment, allowed=one.status == ALLOWED, environment=os.environ), err=True)
    except PostError as error:
        typer.echo(f"error: {error}", err=True)
        return False
    return True


def _told(name: str, work: Callable[[StackView], Reviewed]) -> Reviewed:
    """Review one stack; an error becomes a comment too, so that an older one does not stand in its place."""
    shown = name or "(selected)"
    try:
        view = StackView.open(name)
        shown = view.name
        return work(view)
    except RedismoveError as error:
        return Reviewed(
            status=ERROR,
            comment=report.failed(shown, str(error)),
            values={"stack": shown, "allowed": False, "error": str(error)},
            said=f"error: {error}",
        )


def _review(view: StackView, *, pack: Path, config: Path | None, without_deletions: bool) -> Reviewed:
    folder = pack if pack.is_absolute() else view.folder / pack
    if not (folder / "PulumiPolicy.yaml").is_file():
        raise ReviewError(
            f"policy pack {pack}: found no PulumiPolicy.yaml, allowed the folder of a policy pack; "
            "give it with --policy-pack"
        )
    lowered = verdict.levels_lowered(config) if config is not None else []
    survey = view.survey()
    preview = _preview(view, folder, config)
    told = changes.of(preview.steps, survey.move)
    besides: list[Told] = report.unwanted_deletions(told.destroys) if without_deletions else []
    made = report.Review(
        stack=view.name,
        move=survey.move,
        verdict=verdict.judge(survey.move, preview, lowered=lowered, besides=besides),
        changes=told,
        cutover=report.cutover_words(survey.move, preview, survey.settings.cutover),
    )
    values = made.to_json()
    return Reviewed(
        status=ALLOWED if made.allowed else REFUSED,
        comment=made.comment(),
        values=values,
        said="\n".join([made.headline.replace("`", ""), *_reasons(made.verdict)]),
    )


def _reasons(found: verdict.Verdict) -> list[str]:
    stopping = [*found.refusals, *found.not_known]
    return [
        *(f"  {one.thing}: found {one.found}, allowed {one.allowed}; {one.cure} [{one.rule}]" for one in stopping),
        *(f"  {error}" for error in found.errors),
    ]


def _preview(view: StackView, pack: Path, config: Path | None) -> Preview:
    """
    Run `pulumi preview` with the policy pack and read its events.

    The log of events may hold what the program knows, so it lies in a folder that only this user can read, and is
    removed.
    """
    command = view.workspace.pulumi_command
    with tempfile.TemporaryDirectory(prefix="redismove-review-") as folder:
        log = Path(folder) / "events.jsonl"
        words = ["preview", "--stack", view.name, "--policy-pack", str(pack), "--event-log", str(log)]
        if config is not None:
            words += ["--policy-pack-config", str(config.absolute())]
        failure = ""
        try:
            # The flag --event-log exists only where debugging commands are switched on (CLI 3.259).
            command.run(words, str(view.folder), {**view.workspace.env_vars, "PULUMI_DEBUG_COMMANDS": "true"})
        except auto.CommandError as error:
            failure = _last_error(str(error))
        preview = read(log.read_text(encoding="utf-8").splitlines()) if log.exists() else Preview()
    if preview.result == "" and failure:
        return Preview(steps=preview.steps, violations=preview.violations, judged=preview.judged, errors=(failure,))
    return preview


def _last_error(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line.split("error:", 1)[1].strip() for line in lines if "error:" in line]
    return (errors or lines or ["pulumi preview failed and said nothing"])[-1]


def _platform(text: str) -> Platform | None:
    match text:
        case "":
            return None
        case "github":
            return "github"
        case "azure":
            return "azure"
    raise ReviewError(f'--post: found "{text}", allowed github or azure; name one of them')


def _as_outputs(touched: changed.Touched) -> str:
    """Write them as a job's outputs: a name, an equals sign and a list in JSON, one a line."""
    import json

    return "\n".join(f"{name}={json.dumps(stacks)}" for name, stacks in asdict(touched).items())


def _write(done: list[Reviewed], file: Path | None, *, json: bool, one: bool, posted: bool) -> None:
    comments = "\n".join(review.comment for review in done)
    if file is not None:
        try:
            file.write_text(comments, encoding="utf-8")
        except OSError as error:
            raise ReviewError(f"--comment-file {file}: {error.strerror}; name a file that can be written") from None
    if json:
        values = [review.values for review in done]
        typer.echo(as_json(values[0] if one else values))
    elif file is None and not posted:
        typer.echo(comments, nl=False)
