"""The command line of the unit tests."""

from tests.unit.controller.cli.conftest import vmferry

__all__ = ["vmferry"]
