"""Read the guest's report from the text of its serial console."""

from __future__ import annotations

import re
from dataclasses import dataclass

PREFIX = "VMFERRY-GUEST "

# Keyword of a line -> its exact format. `root` and `disk` share their fields.
_DISK = r"dev=(?P<dev>/dev/\w+) bus=(?P<bus>virtio|scsi|sata|ide|nvme|usb) size=(?P<size>\d+)"
_FORMATS = {
    "hello": r"hello release=(?P<release>\S+) kernel=(?P<kernel>\S+)",
    "firmware": r"firmware=(?P<firmware>bios|uefi) secureboot=(?P<secureboot>on|off|unsupported)"
    r" tpm=(?P<tpm>none|1\.2|2\.0)",
    "cpus": r"cpus=(?P<cpus>\d+) sockets=(?P<sockets>\d+) cores=(?P<cores>\d+)"
    r" memory_kib=(?P<memory_kib>\d+)",
    "root": _DISK.replace("dev=", "root=", 1),
    "disk": r"disk=(?P<n>\d+) " + _DISK,
    "nic": r"nic=(?P<n>\d+) mac=(?P<mac>[0-9a-f]{2}(?::[0-9a-f]{2}){5}) driver=(?P<driver>\w+)",
    "data": r"data (?:missing|nonce=(?P<nonce>[0-9a-f]{64}) sha256=(?P<sha256>[0-9a-f]{64}))",
    "root_sha256": r"root_sha256=(?P<sum>[0-9a-f]{64})",
    "done": r"done",
}
_MANY = ("disk", "nic")
_REQUIRED = ("hello", "firmware", "cpus", "root", "disk", "data", "root_sha256", "done")

Fields = dict[str, str]


@dataclass(frozen=True)
class Disk:
    """A disk as the guest sees it."""

    dev: str
    bus: str
    size: int


@dataclass(frozen=True)
class Nic:
    """A NIC as the guest sees it."""

    mac: str
    driver: str


@dataclass(frozen=True)
class GuestData:
    """What the guest read from its data disk."""

    nonce: str
    sha256: str


@dataclass(frozen=True)
class GuestReport:
    """The whole report of a guest; `data` is None if it has no data disk."""

    release: str
    kernel: str
    firmware: str
    secureboot: str
    tpm: str
    cpus: int
    sockets: int
    cores: int
    memory_kib: int
    root: Disk
    disks: tuple[Disk, ...]
    nics: tuple[Nic, ...]
    data: GuestData | None
    root_sha256: str


def parse(console: str) -> GuestReport:
    """The report in a console log; ValueError says what is missing or wrong."""
    lines = _lines(console)
    missing = [keyword for keyword in _REQUIRED if not lines[keyword]]
    if missing:
        raise ValueError(f"the guest's report is missing: {', '.join(missing)}")
    hello, firmware, cpus = lines["hello"][0], lines["firmware"][0], lines["cpus"][0]
    return GuestReport(
        release=hello["release"],
        kernel=hello["kernel"],
        firmware=firmware["firmware"],
        secureboot=firmware["secureboot"],
        tpm=firmware["tpm"],
        cpus=int(cpus["cpus"]),
        sockets=int(cpus["sockets"]),
        cores=int(cpus["cores"]),
        memory_kib=int(cpus["memory_kib"]),
        root=_disk(lines["root"][0]),
        disks=tuple(_disk(fields) for fields in lines["disk"]),
        nics=tuple(Nic(fields["mac"], fields["driver"]) for fields in lines["nic"]),
        data=_data(lines["data"][0]),
        root_sha256=lines["root_sha256"][0]["sum"],
    )


def _lines(console: str) -> dict[str, list[Fields]]:
    """The fields of each of the guest's lines, by keyword."""
    found: dict[str, list[Fields]] = {keyword: [] for keyword in _FORMATS}
    for line in re.split(r"[\r\n]+", console):
        if line.startswith(PREFIX):
            keyword, fields = _match(line.removeprefix(PREFIX))
            if found[keyword] and keyword not in _MANY:
                raise ValueError(f"the guest reported twice: {keyword}")
            if keyword in _MANY and int(fields["n"]) != len(found[keyword]):
                raise ValueError(f"the guest's report is missing: {keyword}={len(found[keyword])}")
            found[keyword].append(fields)
    return found


def _match(text: str) -> tuple[str, Fields]:
    if text.startswith("error "):
        raise ValueError(f"the guest failed: {text.removeprefix('error ')}")
    keyword = re.split(r"[ =]", text, maxsplit=1)[0]
    match = re.fullmatch(_FORMATS.get(keyword, r"(?!)"), text, re.ASCII)
    if match is None:
        raise ValueError(f"not a line of the guest's report: {text!r}")
    return keyword, match.groupdict()


def _disk(fields: Fields) -> Disk:
    return Disk(fields["dev"], fields["bus"], int(fields["size"]))


def _data(fields: Fields) -> GuestData | None:
    return GuestData(fields["nonce"], fields["sha256"]) if fields["nonce"] else None
