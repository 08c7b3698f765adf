"""
Is the target what the source is? Compared in both directions, and never fooled by a count.

- `compare_keys(source, target, database, keys)`: the differences among some keys.
- `differences(source, target)`: every key that differs or stands on one side only, as quickly as possible.
- `verify(source, target, depth=...)`: the whole question with rounds, counts, reasons, and a signature.
"""

from redismove.dataplane.verify.compare import Difference, compare_keys, differences
from redismove.dataplane.verify.report import Depth, Progress, VerifyReport
from redismove.dataplane.verify.run import verify

__all__ = ["Depth", "Difference", "Progress", "VerifyReport", "compare_keys", "differences", "verify"]
