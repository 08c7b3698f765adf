"""The command `redismove`: one file a command, put together here."""

from __future__ import annotations

import sys
from typing import NoReturn

import typer

from redismove.cli import copy, local, plan, resume, review, status, verify
from redismove.errors import RedismoveError

app = typer.Typer(
    name="redismove",
    help="Move an Azure Cache for Redis to another region, one stage at a time, with Pulumi.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(local.app, name="local")
app.command("status")(status.status)
app.command("plan")(plan.plan)
app.command("resume")(resume.resume)
app.command("review")(review.review)
app.command("verify")(verify.verify)
app.command("copy")(copy.copy)


def main() -> NoReturn:
    """Run the command line; what a user can cause ends in one sentence and exit status 2."""
    try:
        app()
    except RedismoveError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(2)
    sys.exit(0)


if __name__ == "__main__":
    main()
