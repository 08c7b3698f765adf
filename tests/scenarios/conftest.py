"""Scenarios use what the tests with the real engine use."""

from tests.engine.conftest import _tools_on_path, cloud, new_move

__all__ = ["_tools_on_path", "cloud", "new_move"]
