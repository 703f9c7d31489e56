"""docs/how-to/sources.md names exactly the privileges that vmferry uses."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from steps.providers.vmware.privileges import EDIT_DEVICE, EXPORT, POWER_OFF, RENAME

TEXT: Final = (Path(__file__).parents[3] / "docs" / "how-to" / "sources.md").read_text()
POWER_ON: Final = "VirtualMachine.Interact.PowerOn"
"""Only for `restorePower` and `vmferry undo`; nothing checks it before."""
ATTACH_TAG: Final = "InventoryService.Tagging.AttachTag"
"""Only for the tag of `spec.markSource`; nothing checks it before."""


def test_the_role_has_the_privileges_of_the_table() -> None:
    (line,) = re.findall(r"^govc role\.create vmferry-import (.*)$", TEXT, re.MULTILINE)
    assert set(line.split()) == {EXPORT, POWER_OFF, POWER_ON}
    (marks,) = re.findall(r"^govc role\.update -a vmferry-import (.*)$", TEXT, re.MULTILINE)
    assert set(marks.split()) == {RENAME, EDIT_DEVICE, ATTACH_TAG}
    rows = re.findall(r"^\| (`.*?`) \|", TEXT.partition("### vSphere")[2].partition("\n## ")[0], re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`([\w.]+)`", row)}
    assert named == {*line.split(), *marks.split(), "System.View", "System.Read"}
