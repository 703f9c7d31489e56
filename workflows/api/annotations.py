"""The annotations of an import by which a person asks for something; the controller takes them off again."""

from __future__ import annotations

from typing import Final

from steps.model.kinds import GROUP

RETRY: Final = f"{GROUP}/retry"
"""Carry the import out again from where it failed. Any value."""
APPROVE: Final = f"{GROUP}/approve"
"""The gates a person opens: `poweroff`, `start`, or both with a comma between them."""
