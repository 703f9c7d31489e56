"""Annotations by which a person requests an action for an import or a plan. The controller removes them."""

from __future__ import annotations

from typing import Final

from steps.model.kinds import GROUP

RETRY: Final = f"{GROUP}/retry"
"""Retry the import from where it failed; all failed imports of a plan. Any value."""
APPROVE: Final = f"{GROUP}/approve"
"""The gates to approve: `poweroff`, `start`, or both, separated by a comma. Of a plan: the number of a
wave."""
UNDO: Final = f"{GROUP}/undo"
"""Stop the VM at the target, then start the VM at its source again. Any value."""
SELECT: Final = f"{GROUP}/select"
"""Of a MigrationPlan: select its VMs again. Any value."""
