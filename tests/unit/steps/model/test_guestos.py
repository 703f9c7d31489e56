"""One vocabulary of guest systems for three kinds of source."""

from __future__ import annotations

from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyVmomi import vim

from steps.model.guestos import harvester_label, is_windows, of_openstack, of_ovf, of_ovirt, of_vmware

_descriptor: Any = vim.vm.GuestOsDescriptor
VMWARE: Final[list[str]] = list(_descriptor.GuestOsIdentifier.values)
"""Every guestId of this release of the API."""
NAMELESS: Final = {
    "otherGuest",
    "otherGuest64",
    *("os2Guest", "eComStationGuest", "eComStation2Guest"),
    *("openServer5Guest", "openServer6Guest", "unixWare7Guest"),
}
OFFERED: Final = {
    *("windows", "linux", "otherLinux", "debian", "fedora", "gentoo", "oracle", "redhat", "ubuntu"),
    *("SLEs", "openSUSE"),
}
"""The systems in Harvester's form: harvester-ui-extension pkg/harvester/mixins/harvester-vm/index.js, OS."""


@pytest.mark.parametrize("guest_id", VMWARE)
def test_every_named_guest_id_of_vsphere_is_known(guest_id: str) -> None:
    assert bool(of_vmware(guest_id)) is (guest_id not in NAMELESS)
    assert is_windows(of_vmware(guest_id)) is guest_id.lower().startswith("win")


@pytest.mark.parametrize("guest_id", [name for name in VMWARE if "inux" in name])
def test_every_linux_of_vsphere_has_a_label(guest_id: str) -> None:
    assert harvester_label(of_vmware(guest_id)) in OFFERED - {"windows"}


@pytest.mark.parametrize(
    ("guest_id", "wanted", "label"),
    [
        ("debian12_64Guest", "debian12", "debian"),
        ("rhel9_64Guest", "rhel9", "redhat"),
        ("centos7_64Guest", "centos7", "otherLinux"),
        ("oracleLinux8_64Guest", "ol8", "oracle"),
        ("sles15_64Guest", "sles15", "SLEs"),
        ("opensuse64Guest", "opensuse", "openSUSE"),
        ("ubuntu64Guest", "ubuntu", "ubuntu"),
        ("fedora64Guest", "fedora", "fedora"),
        ("other5xLinux64Guest", "linux", "linux"),
        ("windows9_64Guest", "win10", "windows"),
        ("windows9Server64Guest", "win2k16", "windows"),
        ("windows2019srv_64Guest", "win2k19", "windows"),
        ("windows2019srvNext_64Guest", "win2k22", "windows"),
        ("winNetEnterprise64Guest", "win2k3", "windows"),
        ("freebsd13_64Guest", "freebsd13", ""),
        ("darwin20_64Guest", "macosx", ""),
        ("", "", ""),
        ("notThereYetGuest", "", ""),
    ],
)
def test_guest_ids_of_vsphere_become_ids_and_labels(guest_id: str, wanted: str, label: str) -> None:
    assert (of_vmware(guest_id), harvester_label(of_vmware(guest_id))) == (wanted, label)


@pytest.mark.parametrize(
    ("cim_id", "os_type", "wanted"),
    [
        (96, "debian12_64Guest", "debian12"),  # the more exact of the two
        (96, "", "debian"),
        (94, "Ubuntu22_LTS_64", "ubuntu22"),
        (80, "RedHat9_64", "rhel9"),
        (101, "", "linux"),
        (100, "Linux26_64", "linux"),
        (36, "", "linux"),
        (109, "", "ol"),
        (107, "", "centos"),
        (120, "Windows10_64", "win10"),
        (118, "", "win2k16"),
        (1, "Windows2019_64", "win2k19"),
        (112, "windows8Server64Guest", "win2k12"),
        (103, "", "win2k8r2"),
        (1, "windows2019srvNext_64Guest", "win2k22"),
        (78, "FreeBSD_64", "freebsd"),
        (1, "otherGuest", ""),
        (102, "Other_64", ""),
        (None, "", ""),
        (999, "", ""),
    ],
)
def test_systems_of_ovf_become_ids(cim_id: int | None, os_type: str, wanted: str) -> None:
    assert of_ovf(cim_id, os_type) == wanted


@pytest.mark.parametrize(
    ("distro", "version", "kind", "wanted"),
    [
        ("ubuntu", "22.04", "linux", "ubuntu22.04"),
        ("Ubuntu", "jammy", "", "ubuntu"),
        ("ubuntu22.04", "", "", "ubuntu22.04"),
        ("rhel", "9.4", "linux", "rhel9.4"),
        ("centos", "7", "", "centos7"),
        ("rocky", "9", "", "rocky9"),
        ("sled", "15.5", "", "sled15.5"),
        ("arch", "", "", "archlinux"),
        ("windows", "2019", "windows", "win2k19"),
        ("windows", "Server 2012 R2", "", "win2k12r2"),
        ("windows", "2k22", "", "win2k22"),
        ("windows", "10", "", "win10"),
        ("windows", "8.1", "", "win8.1"),
        ("windows", "", "", "windows"),
        ("win2k19", "", "", "win2k19"),
        ("win11", "", "windows", "win11"),
        ("", "", "windows", "windows"),
        ("", "2022", "windows", "win2k22"),
        ("", "", "linux", "linux"),
        ("cirros", "0.6", "linux", "linux"),
        ("", "", "", ""),
    ],
)
def test_systems_of_openstack_become_ids(distro: str, version: str, kind: str, wanted: str) -> None:
    assert of_openstack(distro, version, kind) == wanted


@pytest.mark.parametrize(
    ("os_type", "distribution", "version", "wanted"),
    [
        ("rhel_9x64", "", "", "rhel9"),
        ("rhel_6_9_plus_ppc64", "", "", "rhel6.9"),
        ("ubuntu_18_04", "", "", "ubuntu18.04"),
        ("debian_9", "", "", "debian9"),
        ("windows_2019x64", "", "", "win2k19"),
        ("windows_2008R2x64", "", "", "win2k8r2"),
        ("windows_2012R2x64", "", "", "win2k12r2"),
        ("windows_10x64", "", "", "win10"),
        ("windows_11", "", "", "win11"),
        ("other_linux", "", "", "linux"),
        ("other", "", "", ""),
        ("other_linux", "Red Hat Enterprise Linux", "9.3", "rhel9.3"),
        ("rhel_9x64", "Debian GNU/Linux", "12", "debian12"),
        ("other", "Fedora Linux", "40", "fedora40"),
        ("rhel_9x64", "Home Made Linux", "1", "rhel9"),
        ("windows_2022", "Debian GNU/Linux", "12", "win2k22"),
    ],
)
def test_systems_of_ovirt_become_ids(os_type: str, distribution: str, version: str, wanted: str) -> None:
    assert of_ovirt(os_type, distribution, version) == wanted


@given(st.text(), st.text(), st.text(), st.none() | st.integers())
def test_any_text_becomes_an_id_that_is_valid_in_a_manifest(
    one: str, two: str, three: str, number: int | None
) -> None:
    for found in (
        of_vmware(one),
        of_ovf(number, one),
        of_openstack(one, two, three),
        of_ovirt(one, two, three),
    ):
        assert found.isascii()
        assert not set(found) - set("abcdefghijklmnopqrstuvwxyz0123456789.")
        assert harvester_label(found) in {"", *OFFERED}
