"""Descriptors of several products and the VMs that they describe.

`vmware.ovf` is as ovftool and vCenter write it, `virtualbox*.ovf` as VirtualBox does (OVF 1.0 and 2.0),
`ovirt.ovf` as oVirt's engine does for an OVA, `virt-v2v.ovf` as virt-v2v does for QEMU's guests (OVF 0.9),
`options.ovf` like vendors' appliances, with a choice of sizes and properties, `collection.ovf` like a vApp.
The expected VM is next to each; VMFERRY_GOLDEN=write rewrites it, and a person must read the change.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import unquote

import pytest

from steps.model.machine import Machine
from steps.providers import connect
from tests.unit.steps.providers.ova.conftest import MakeAccess

FILES = Path(__file__).parent / "files"
WRITE = os.environ.get("VMFERRY_GOLDEN") == "write"


@pytest.fixture
def package(tmp_path: Path, descriptor: Path) -> Path:
    """The descriptor with every file that it refers to, of the declared size and without content."""
    text = descriptor.read_text()
    for line in re.findall(r"<File [^>]*>", text):
        name, size = re.search(r'ovf:href="([^"]+)"', line), re.search(r'ovf:size="(\d+)"', line)
        assert name
        file = tmp_path / "package" / unquote(name[1])
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
        os.truncate(file, int(size[1]) if size else 0)
    copy = tmp_path / "package" / descriptor.name
    copy.write_text(text)
    return copy


@pytest.mark.parametrize("descriptor", sorted(FILES.glob("*.ovf")), ids=lambda path: path.stem)
def test_each_descriptor_becomes_its_golden_vm(package: Path, descriptor: Path, access: MakeAccess) -> None:
    with connect(access(package)) as source:
        found = source.inventory()
    for one in found.machines:
        stem = f"{descriptor.stem}-{one.source_id}" if len(found.machines) > 1 else descriptor.stem
        expected = FILES / f"{stem}.json"
        assert one.change_version
        machine = one.model_copy(update={"change_version": ""})
        if WRITE:
            machine.save(expected)
        assert machine == Machine.load(expected)
    assert {nic.network for machine in found.machines for nic in machine.nics} <= set(found.networks)
