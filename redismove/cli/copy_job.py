"""`python -m redismove.cli.copy_job`: what the container of a copy near the source runs. Nobody types it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from typing import Any, NoReturn

from redismove.dataplane.copy_job import (
    ORDER_VARIABLE,
    SOURCE_PASSWORD_VARIABLE,
    TARGET_PASSWORD_VARIABLE,
    Order,
    is_final,
    run_job,
)
from redismove.dataplane.errors import DataPlaneError


def main() -> NoReturn:
    """
    Copy every key as the order in the environment says.

    The log is one JSON object a line. Exit status 0: the copy is complete, 2: it is not, and the container group starts
    this again.
    """
    try:
        order = Order.from_text(os.environ.get(ORDER_VARIABLE, ""))
        source = order.source.address(os.environ.get(SOURCE_PASSWORD_VARIABLE, ""))
        target = order.target.address(os.environ.get(TARGET_PASSWORD_VARIABLE, ""))
        run_job(order, source, target, tell=_log)
    except DataPlaneError as error:
        _log({"event": "failed", "error": str(error), "final": is_final(error)})
        sys.exit(2)
    sys.exit(0)


def _log(what: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
