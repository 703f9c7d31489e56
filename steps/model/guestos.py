"""The guest's operating system, in one vocabulary for all sources. Pure.

The ids are libosinfo's short ids (`win2k19`, `ubuntu22.04`, `debian12`), without details that the source
does not report: `rhel9` without the minor release, `linux` if only the family is known. "" means unknown.
"""

from __future__ import annotations

import re
from typing import Final

_WINDOWS: Final = {
    "win31": "win3.1",
    "win95": "win95",
    "win98": "win98",
    "winme": "winme",
    "winnt": "winnt4.0",
    "winxphome": "winxp",
    "winxppro": "winxp",
    "winnetweb": "win2k3",
    "winnetstandard": "win2k3",
    "winnetenterprise": "win2k3",
    "winnetdatacenter": "win2k3",
    "winnetbusiness": "win2k3",
    "winlonghorn": "win2k8",
    "winvista": "winvista",
    "win2000pro": "win2k",
    "win2000serv": "win2k",
    "win2000advserv": "win2k",
    "windows31": "win3.1",
    "windows95": "win95",
    "windows98": "win98",
    "windowsme": "winme",
    "windowsnt": "winnt4.0",
    "windowsnt3": "winnt3.51",
    "windowsnt4": "winnt4.0",
    "windows2000": "win2k",
    "windowsxp": "winxp",
    "windows2003": "win2k3",
    "windowsvista": "winvista",
    "windows2008": "win2k8",
    "windows7": "win7",
    "windows7server": "win2k8r2",
    "windows8": "win8",
    "windows81": "win8.1",
    "windows8server": "win2k12",
    "windows2012": "win2k12",
    "windows9": "win10",  # VMware's name for it, as Microsoft skipped the number
    "windows10": "win10",
    "windows9server": "win2k16",
    "windows2016": "win2k16",
    "windows2019": "win2k19",
    "windows2019srv": "win2k19",
    "windows2019srvnext": "win2k22",
    "windows2022": "win2k22",
    "windows2022srvnext": "win2k25",
    "windows2025": "win2k25",
    "windows11": "win11",
}
"""Normalised ids of vSphere (VirtualMachineGuestOsIdentifier) and VirtualBox (`VBoxManage list ostypes`)."""

_VENDORS: Final = (
    # prefix of the normalised id, our id, whether the digits behind it are the release
    ("redhatenterpriselinux", "rhel", True),
    ("redhat", "rhel", True),
    ("rhel", "rhel", True),
    ("centos", "centos", True),
    ("oraclelinux", "ol", True),
    ("oracle", "ol", True),
    ("ol", "ol", True),
    ("rockylinux", "rocky", True),
    ("rocky", "rocky", True),
    ("almalinux", "almalinux", True),
    ("alma", "almalinux", True),
    ("opensuse", "opensuse", True),
    ("sles", "sles", True),
    ("sled", "sled", True),
    ("suse", "sles", False),
    ("ubuntu", "ubuntu", True),
    ("xubuntu", "ubuntu", True),
    ("debian", "debian", True),
    ("fedora", "fedora", True),
    ("gentoo", "gentoo", False),
    ("arch", "archlinux", False),
    ("amazonlinux", "amzn", True),
    ("amzn", "amzn", True),
    ("vmwarephoton", "photon", False),
    ("photon", "photon", False),
    ("coreos", "coreos", False),
    ("flatcar", "flatcar", False),
    ("mandriva", "mandriva", False),
    ("mandrake", "mandrake", False),
    ("mes", "mes", False),
    ("asianux", "asianux", True),
    ("miraclelinux", "miraclelinux", False),
    ("freebsd", "freebsd", True),
    ("netbsd", "netbsd", False),
    ("openbsd", "openbsd", False),
    ("solaris", "solaris", True),
    ("opensolaris", "opensolaris", False),
    ("darwin", "macosx", False),
    ("macos", "macosx", False),
    ("vmkernel", "esxi", False),
    ("netware", "netware", True),
    ("msdos", "msdos", False),
    ("dos", "msdos", False),
    *(
        (name, "linux", False)
        for name in ("linux", "otherlinux", "genericlinux", "turbolinux", "kylinlinux", "prolinux")
    ),
    *((name, "linux", False) for name in ("other2", "other3", "other4", "other5", "other6", "other7")),
    *((name, "linux", False) for name in ("nld", "oes", "sjds", "pardus", "fusionos", "crx")),
)

_CIM: Final = {
    **dict.fromkeys((15,), "win3.1"),
    **dict.fromkeys((16,), "win95"),
    **dict.fromkeys((17,), "win98"),
    **dict.fromkeys((18,), "winnt4.0"),
    **dict.fromkeys((58,), "win2k"),
    **dict.fromkeys((63,), "winme"),
    **dict.fromkeys((67, 71, 72, 75), "winxp"),
    **dict.fromkeys((69, 70), "win2k3"),
    **dict.fromkeys((73, 74), "winvista"),
    **dict.fromkeys((76, 77), "win2k8"),
    **dict.fromkeys((103,), "win2k8r2"),
    **dict.fromkeys((105,), "win7"),
    **dict.fromkeys((111,), "win2k11"),
    **dict.fromkeys((112,), "win2k12"),
    **dict.fromkeys((113, 114), "win8"),
    **dict.fromkeys((115,), "win2k12r2"),
    **dict.fromkeys((116, 117), "win8.1"),
    **dict.fromkeys((118,), "win2k16"),
    **dict.fromkeys((119, 120), "win10"),
    **dict.fromkeys((36, 86, 87, 88, 91, 92, 97, 98, 99, 100, 101), "linux"),
    **dict.fromkeys((79, 80), "rhel"),
    **dict.fromkeys((82, 83, 84, 85), "sles"),
    **dict.fromkeys((89, 90), "mandriva"),
    **dict.fromkeys((93, 94), "ubuntu"),
    **dict.fromkeys((95, 96), "debian"),
    **dict.fromkeys((106, 107), "centos"),
    **dict.fromkeys((108, 109), "ol"),
    **dict.fromkeys((42, 78), "freebsd"),
    **dict.fromkeys((43,), "netbsd"),
    **dict.fromkeys((65,), "openbsd"),
    **dict.fromkeys((29, 81), "solaris"),
    **dict.fromkeys((2,), "macosx"),
    **dict.fromkeys((14,), "msdos"),
    **dict.fromkeys((21,), "netware"),
    **dict.fromkeys((104,), "esxi"),
}
"""CIM_OperatingSystem.OSType (DMTF, CIM 2.52), which OVF's OperatingSystemSection/@id is."""

_SERVERS: Final = re.compile(r"(?:20|2k)([0-9]{2})\s*(r2)?")
_RELEASE: Final = re.compile(r"[0-9]+(?:\.[0-9]+)*")

_HARVESTER: Final = {
    "sles": "SLEs",
    "sled": "SLEs",
    "debian": "debian",
    "fedora": "fedora",
    "gentoo": "gentoo",
    "ol": "oracle",
    "rhel": "redhat",
    "opensuse": "openSUSE",
    "ubuntu": "ubuntu",
    "linux": "linux",
    **dict.fromkeys(("centos", "rocky", "almalinux", "amzn", "archlinux", "photon"), "otherLinux"),
    **dict.fromkeys(("coreos", "flatcar", "mandriva", "mandrake", "mes"), "otherLinux"),
    **dict.fromkeys(("asianux", "miraclelinux"), "otherLinux"),
}
"""The values that Harvester's form offers (harvester-ui-extension pkg/harvester/mixins/harvester-vm/index.js,
OS; it counts CentOS among the others)."""


def of_vmware(guest_id: str) -> str:
    """From vSphere's guestId: `rhel9_64Guest` is rhel9."""
    return _named(guest_id)


def of_ovf(cim_id: int | None, os_type: str = "") -> str:
    """From the OperatingSystemSection: `os_type` (vmw:osType or VirtualBox's OSType) is more precise."""
    return _named(os_type) or _CIM.get(cim_id or 0, "")


def of_openstack(os_distro: str, os_version: str = "", os_type: str = "") -> str:
    """From an image's properties (glance/etc/metadefs/operating-system.json; Nova knows two os_types)."""
    distro, kind = os_distro.strip().lower(), os_type.strip().lower()
    if distro.startswith("win") or (not distro and kind == "windows"):
        return _windows(distro, os_version.strip().lower())
    name = _named(distro)
    if name and not _RELEASE.search(name):
        release = _RELEASE.match(os_version.strip())
        return name if name == "linux" or release is None else name + release[0]
    return name or ("linux" if kind == "linux" else "")


def of_ovirt(os_type: str, distribution: str = "", version: str = "") -> str:
    """From os.type (the engine's osinfo names: `rhel_9x64`, `ubuntu_18_04`, `windows_2019x64`).

    `distribution` and `version` are what a guest agent reports; of Linux they are more precise.
    """
    plain = re.sub(r"(?<=[0-9])_(?=[0-9])", ".", re.sub(r"_?x64$", "", os_type.strip().lower()))
    configured = _named(plain)
    reported = "" if is_windows(configured) else _named(distribution.replace(" ", ""))
    if not reported or reported == "linux" or is_windows(reported):
        return configured or reported
    release = _RELEASE.match(version.strip())
    return reported if _RELEASE.search(reported) or release is None else reported + release[0]


def is_windows(os: str) -> bool:
    """Whether an id of ours is a Windows."""
    return os.startswith("win")


def harvester_label(os: str) -> str:
    """The value for Harvester's label `harvesterhci.io/os`; "" for systems that Harvester does not name."""
    return "windows" if is_windows(os) else _HARVESTER.get(_RELEASE.split(os)[0], "")


def _normalised(name: str) -> str:
    """`rhel9_64Guest`, `rhel9-64`, `RedHat9_64` and `Ubuntu22_LTS_64` without case, width and frills."""
    text = name.strip().lower().removesuffix("guest")
    text = re.sub(r"[_-](?:64|x64|arm64|lts(?:[_-]64)?)$", "", text).removesuffix("64")
    return re.sub(r"[\s_-]", "", text)


def _named(name: str) -> str:
    plain = _normalised(name)
    if plain.startswith("win"):
        return _windows(plain, "")
    for prefix, vendor, numbered in _VENDORS:
        if plain.startswith(prefix):
            release = _RELEASE.match(plain.removeprefix(prefix)) if numbered else None
            return vendor + release[0] if release else vendor
    return ""


def _windows(name: str, version: str) -> str:
    """One of Windows; `version` is free text such as "2019", "Server 2012 R2" or "10"."""
    plain = _normalised(name)
    if plain in _WINDOWS or plain in _WINDOWS.values():
        return _WINDOWS.get(plain, plain)
    if server := _SERVERS.search(version or name):
        return f"win2k{server[1].lstrip('0')}{server[2] or ''}"
    return _WINDOWS.get(f"windows{version.replace('.', '')}", "windows")
