"""The policy pack: every rule of `redismove.rules` as one policy. Nothing is said here that a rule does not say."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pulumi_policy import PolicyPack

from policies.pack import NAME, policies

PolicyPack(name=NAME, policies=policies())
