"""The step `adapt` with the real virt-v2v, on a phony Windows."""

from __future__ import annotations

from pathlib import Path

import pytest

from steps.guest import v2v
from steps.model.contract import Exit
from steps.model.machine import Nic
from tests.real.adaptation.conftest import MAC, Prepare, Run, read_back

pytestmark = pytest.mark.timeout(1800)


def test_a_phony_windows_gets_its_drivers_and_its_address(
    windows: Path, prepare: Prepare, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = a_windows(windows, prepare, monkeypatch)
    before = run.digests()
    assert run.step("adapt") == Exit.DONE, run.log
    record = run.adapted
    assert [disk.landed for disk in record.disks] == before
    assert [disk.handed_over for disk in record.disks] == run.digests() != before
    assert f"Windows sets its address at its first start: {MAC}:ip:192.0.2.20,192.0.2.1,24" in record.done
    assert run.guest.system is not None
    assert "viostor (boot)" in run.guest.system.windows_drivers
    read_windows(run)


def a_windows(windows: Path, prepare: Prepare, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A Windows that was inspected and needs a conversion."""
    monkeypatch.setenv(v2v.TOOLS_ENV, str(windows / "virt-tools"))
    nic = Nic(id="nic-0", mac=MAC, addresses=("192.0.2.20",))
    run = prepare(windows / "windows.img", nics=(nic,), virtio_win=str(windows / "virtio-win"))
    run.environment = {**run.environment, v2v.TOOLS_ENV: str(windows / "virt-tools")}
    assert run.step("inspect") == Exit.DONE, run.log
    assert run.guest.verdict.answer == "convert"
    return run


def read_windows(run: Run) -> None:
    """Prove what virt-v2v has written: files, registry, scripts of the first start."""
    found = read_back(
        run,
        "g.mount_ro('/dev/sda1', '/')\n"
        "there = lambda path: bool(g.is_file(g.case_sensitive_path(path)))\n"
        "found = {'sys': there('/Windows/System32/drivers/viostor.sys'),"
        " 'addresses': g.read_file('/Windows/Temp/v2vnetcf.ps1').decode(),"
        " 'names': [name.lower() for name in g.find('/')]}\n"
        "g.hivex_open(g.case_sensitive_path('/Windows/System32/Config/SYSTEM'))\n"
        "def key(*names):\n"
        "    node = g.hivex_root()\n"
        "    for name in names:\n"
        "        node = g.hivex_node_get_child(node, name)\n"
        "    return node\n"
        "def value(node, name):\n"
        "    return list(g.hivex_value_value(g.hivex_node_get_value(node, name)))\n"
        "found['start'] = value(key('ControlSet001', 'Services', 'viostor'), 'Start')\n"
        "found['services'] = [g.hivex_node_name(row['hivex_node_h']) for row in"
        " g.hivex_node_children(key('ControlSet001', 'Services'))]\n"
        "print(json.dumps(found))",
    )
    assert found["sys"]
    assert found["start"] == [0, 0, 0, 0]
    assert any("firstboot" in name.lower() for name in found["services"])
    scripts = [name for name in found["names"] if "guestfs/firstboot/scripts/" in name]
    assert any("v2vnetcf" in name for name in scripts), scripts
    assert any("qemu-ga" in name for name in scripts), scripts
    assert "windows/drivers/virtio/netkvm.inf" in found["names"]
    assert "192.0.2.20" in found["addresses"]
    assert MAC.replace(":", "-") in found["addresses"].lower()
