"""Annotations with which the steps mark what an import makes at its target.

Names and labels that every object of a run has are in `steps.model.names`.
"""

from __future__ import annotations

from typing import Final

from steps.model.kinds import GROUP

DIGEST: Final = f"{GROUP}/sha512"
"""On an image or a DataVolume: the SHA-512 of its source bytes, which were compared as far as possible."""
INTEGRITY: Final = f"{GROUP}/integrity"
LANDED: Final = f"{GROUP}/landed"
"""On an image: the file it is made from, so that one begun before a new export is not continued."""
PUBLISHED: Final = f"{GROUP}/published-for"
"""On an image: the run and disk whose `image` step finished it. `build` uses it (see `completion`)."""
PUBLISHED_BY: Final = f"{GROUP}/published-by"
"""On an image: the Workflow whose `image` step wrote `PUBLISHED`. The `serve` step of that Workflow ends."""
UNFINISHED: Final = f"{GROUP}/unfinished"
"""On a claim on which a disk lands, until its hand-over is complete: the run and the disk. No VM is
started over a claim with it."""
HANDED_OVER: Final = f"{GROUP}/handed-over"
"""On a VM: it was started, or stays off on request. Since then it belongs to its owner, not the import."""

BOOT_CHECK: Final = f"{GROUP}/boot-check"
"""On a VM: how far the boot check is with it (`steps.targets.cluster.boot.check`)."""
BUILT: Final = "built-"
"""Its value from the start of the VM, with a digest of the devices that `build` gave it."""
FALLING_BACK: Final = "falling-back"
"""Its value while the check stops the VM to give it other devices."""
STALE: Final = f"{GROUP}/stale"
"""On a VM, its claims and images: since when they are older than the VM at its source (RFC 3339)."""
BUILT_BY: Final = f"{GROUP}/run"
"""On a VM, an annotation: the run that built it."""
