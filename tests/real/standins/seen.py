"""Keeps each VirtualMachine that a suite makes; later the real KubeVirt judges them (tests/real/virt)."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Final

from steps.model.kinds import Object

FOLDER: Final = "VMFERRY_SEEN"
"""Environment variable: the folder that receives the files. Without it nothing is kept."""
WRITTEN: Final = ("name", "namespace", "labels", "annotations")
"""The metadata that a client writes; the rest is the API server's."""


def keep(machine: Object) -> None:
    """Write the VM as JSON, once for each content; tests/real/virt reads it."""
    folder = os.environ.get(FOLDER)
    if not folder:
        return
    metadata = {name: machine["metadata"][name] for name in WRITTEN if name in machine["metadata"]}
    manifest = {
        "apiVersion": machine["apiVersion"],
        "kind": machine["kind"],
        "metadata": metadata,
        "spec": machine["spec"],
    }
    text = json.dumps(manifest, sort_keys=True, indent=1)
    digest = hashlib.sha256(text.encode()).hexdigest()
    path = Path(folder) / f"{metadata['name']}-{digest[:12]}.json"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        partial.write_text(text)
        partial.replace(path)
