"""docs/how-to/sources.md names exactly the privileges that vmferry uses."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from steps.providers.vmware.privileges import EXPORT, POWER_OFF

TEXT: Final = (Path(__file__).parents[3] / "docs" / "how-to" / "sources.md").read_text()
POWER_ON: Final = "VirtualMachine.Interact.PowerOn"
"""Only for `restorePower` and `vmferry undo`; nothing checks it before."""


def test_the_role_has_the_privileges_of_the_table() -> None:
    (line,) = re.findall(r"^govc role\.create vmferry-import (.*)$", TEXT, re.MULTILINE)
    assert set(line.split()) == {EXPORT, POWER_OFF, POWER_ON}
    rows = re.findall(r"^\| (`.*?`) \|", TEXT.partition("### vSphere")[2].partition("\n## ")[0], re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`([\w.]+)`", row)}
    assert named == {*line.split(), "System.View", "System.Read"}
