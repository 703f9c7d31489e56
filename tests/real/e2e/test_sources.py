"""The same guest is imported from each kind of source and booted: it has the same data."""

from __future__ import annotations

from pathlib import Path

import pytest

from steps.model.contract import Exit
from tests import demosources
from tests.demosources import Kind
from tests.real import scenario
from tests.real.e2e import harness
from tests.real.openstack.cloud import running
from tests.real.ovirt.layout import is_prepared

pytestmark = pytest.mark.vm

SEED = b"the same on every source"


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(Kind.VMWARE, marks=pytest.mark.vcenter),
        pytest.param(Kind.OPENSTACK, marks=pytest.mark.openstack),
        Kind.OVA,
        Kind.OVIRT,
    ],
)
def test_the_guest_has_the_same_data_from_every_source(kind: Kind, tmp_path: Path) -> None:
    if kind is Kind.OPENSTACK and running() is None:
        pytest.skip("no OpenStack runs here: make openstack-lab starts it")
    if kind is Kind.OVIRT and not is_prepared():
        pytest.skip("ovirt-imageio is missing: tests/prepare.sh packages python ovirt builds it")
    scenario.guest_image()
    into = tmp_path / "machine"
    with demosources.at(kind, tmp_path, SEED) as stage:
        ended = harness.vmferry("run", "-f", stage.manifests, "--into", into)
        assert ended.code == Exit.DONE, ended.err
    ended = harness.vmferry("boot", into, "--timeout", "180")
    assert ended.code == Exit.DONE, ended.err
    report = scenario.proven(ended.out, stage.data)
    assert report.data is not None
    # the payload depends only on the seed, and the guest prints the same from every source
    assert report.data.sha256 == "a2da045ff785d5ecef90042f5b261d1cdd1415c13cb2a332fd284658491a3efc"
    assert [nic.mac for nic in report.nics] == list(scenario.MACS)
    assert report.cpus == 2
