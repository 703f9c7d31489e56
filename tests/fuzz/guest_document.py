"""Fuzzes what the child that asks libguestfs answers, up to the document and the text for a person."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any, Final

from controller.cli import guest_view
from steps.guest import run
from steps.model.guest import DiskFile, Guest
from steps.model.guest_facts import Facts
from steps.model.guest_judge import judged
from tests.fuzz import mutate
from tests.fuzz.case import Case, Wrong
from tests.fuzz.engine import change
from tests.fuzz.guest_network import FILES
from tests.unit.steps.model import test_guest_recorded
from tests.unit.steps.model.test_guest_judge import a_kernel, a_linux, a_mount, a_windows

Json = dict[str, Any]
_RECORDED: Final = [
    json.loads(path.read_text()) for path in sorted(test_guest_recorded.FOLDER.glob("*.json"))
]
_KINDS: Final = ("ext4", "ntfs", "swsuspend", "crypto_LUKS", "BitLocker", "LVM2_member", "", "\x1b[2J")
_DRIVERS: Final = ("viostor", "vioscsi", "netkvm", "storahci", "vioser", "balloon", "evil\u202e")
_WORDS: Final = (
    *(
        "linux",
        "windows",
        "hurd",
        "unknown",
        "debian",
        "gentoo",
        "7.7",
        "x86_64",
        "win2k22",
        "\ud800",
        "\x1b]0;",
    ),
    *("boot/bootx64.efi", "systemd/systemd-bootx64.efi", "debian/grubx64.efi", "Microsoft/Boot/bootmgfw.efi"),
    *("guest-dirty", "virtio_blk", "virtio_pci", "ahci", "sd_mod", "e1000e", "open_vm_tools", "/", "/boot"),
)
_NUMBERS: Final = (-1, 0, 1, 99, 10**6, 1 << 62, 1 << 64, 1 << 127, 1 << 200, 10**4000, 0.5, 1e308)


class GuestDocument:
    """Answers of a child, whose disks and who itself may be hostile."""

    name = "guest-document"
    programs: frozenset[str] = frozenset()

    def make(self, rng: random.Random) -> Case:
        facts = _facts(rng) if rng.random() < 0.8 else json.loads(json.dumps(rng.choice(_RECORDED)))
        changes = rng.choice((0, 1, 2, 4, 10))
        for _ in range(changes):
            _change(rng, facts)
        lines = [_line(rng) for _ in range(rng.randrange(4))]
        lines.append(json.dumps({"facts": facts}).encode())
        data = bytearray(b"\n".join(lines))
        if spoilt := rng.random() < 0.1:
            mutate.any_bytes(rng, data)
        valid = not changes and not spoilt and len(lines) == 1
        return Case(self.name, bytes(data), {"valid": valid})

    def run(self, case: Case, folder: Path) -> str:
        del folder
        facts = _answer(case)
        if facts is None:
            return "no facts"
        disks = [DiskFile(device=device, name="disk.img") for device in facts.devices]
        guest = judged(facts, disks)
        if Guest.model_validate_json(guest.to_json()) != guest:
            raise Wrong("the document differs after it was stored")
        shown = guest_view.render(guest)
        if not all(line.isprintable() for line in shown.split("\n")):
            raise Wrong("a line could control a terminal")
        return f"verdict {guest.verdict.answer}"

    def judge(self, case: Case, folder: Path, outcome: str) -> str:
        """Nobody changes a disk that must be left alone, whatever else the facts say."""
        del folder, outcome
        facts = _answer(case)
        if facts is None:
            return ""
        guest = judged(facts)
        suspended = any(one.dirty or one.kind == "swsuspend" for one in facts.file_systems)
        if suspended and facts.roots == 1 and facts.systems and guest.verdict.answer != "leave":
            raise Wrong(f"{guest.verdict} for a file system that must not be changed")
        known = {one.code for one in guest.concerns}
        if guest.verdict.reason and guest.verdict.reason not in known:
            raise Wrong(f"the reason {guest.verdict.reason} is no concern")
        return "left alone" if suspended else "not suspended"


def _answer(case: Case) -> Facts | None:
    """The facts in the lines of the child, read as `run.read_facts` does."""
    for raw in case.data.split(b"\n"):
        line = run._parsed(raw)
        if line is None:
            continue
        try:
            facts = run._heard(line, _ignore, "the end of its messages")
        except (run._MissingError, run._NotStartedError):
            return None
        if facts is not None:
            return facts
    return None


def _ignore(done: int, total: int, text: str) -> None:
    assert done >= 0
    assert total >= 0
    assert text.isprintable()


def _line(rng: random.Random) -> bytes:
    """A line before the facts: progress, a word of a library, or a failure."""
    progress: Any = {"done": rng.choice((0, 1, *_NUMBERS)), "total": 4, "text": rng.choice(_WORDS)}
    if rng.random() < 0.2:
        change(rng, progress)
    others: tuple[Any, ...] = ({"failed": rng.choice(({"kind": "missing"}, {"text": "x\ny"}, 5))}, {}, [], 5)
    found = progress if rng.random() < 0.7 else None
    line = {"progress": found} if found is not None else rng.choice(others)
    return rng.choice(
        (json.dumps(line).encode(), json.dumps(line).encode(), b"a library prints this", b"{{{")
    )


def _change(rng: random.Random, facts: Json) -> None:
    if rng.random() < 0.5:
        change(rng, facts)
        return
    if places := _leaves(facts):
        container, key = rng.choice(places)
        container[key] = rng.choice((*_WORDS, *_NUMBERS, *_KINDS))


def _leaves(value: Any) -> list[tuple[Any, Any]]:
    found: list[tuple[Any, Any]] = []
    for key, item in list(value.items() if isinstance(value, dict) else enumerate(value)):
        found += _leaves(item) if isinstance(item, dict | list | tuple) else [(value, key)]
    return [(container, key) for container, key in found if isinstance(container, dict | list)]


def _facts(rng: random.Random) -> Json:
    systems = [_system(rng) for _ in range(rng.choice((0, 1, 1, 1, 1, 2)))]
    file_systems = [
        {"device": f"/dev/sda{n}", "kind": rng.choice(_KINDS), "size": 1 << 30, "dirty": rng.random() < 0.2}
        for n in range(rng.randrange(4))
    ]
    partitions = [
        {
            "device": f"/dev/sda{n}",
            "disk": "/dev/sda",
            "table": rng.choice(("gpt", "msdos")),
            "type": rng.choice(("C12A7328-F81F-11D2-BA4B-00A0C93EC93B", "83", "ef")),
            "bootable": rng.random() < 0.3,
            "size": 1 << 30,
        }
        for n in range(rng.randrange(4))
    ]
    loaders = rng.sample(_WORDS[11:15], rng.randrange(4))
    made: Json = {
        "libguestfs": rng.choice(("", "1.48.6")),
        "devices": ["/dev/sda", "/dev/sdb"][: rng.randrange(3)],
        "file_systems": file_systems,
        "partitions": partitions,
        "boot_code": ["/dev/sda"] if rng.random() < 0.3 else [],
        "esps": [{"device": "/dev/sda1", "loaders": loaders}] if rng.random() < 0.5 else [],
        "incomplete_groups": ["vg"] if rng.random() < 0.2 else [],
        "raid": ["/dev/md0"] if rng.random() < 0.2 else [],
        "systems": systems,
        "roots": len(systems),
        "trouble": ["x: y"] if rng.random() < 0.3 else [],
    }
    return json.loads(json.dumps(made))  # type: ignore[no-any-return]


def _system(rng: random.Random) -> Json:
    if rng.random() < 0.4:
        names = rng.sample(_DRIVERS, rng.randrange(5))
        drivers = [
            {"name": name, "start": rng.choice((0, 1, 3, 4, 9, None)), "file": rng.random() < 0.8}
            for name in names
        ]
        nic = {
            "name": "{GUID}",
            "dhcp": rng.random() < 0.5,
            "addresses": ["192.0.2.10"],
            "masks": ["255.255.255.0"],
        }
        return a_windows(
            {
                "hibernated": rng.random() < 0.2,
                "fast_startup": rng.random() < 0.5,
                "agents": rng.sample(("qemu_guest_agent", "vmware_tools"), rng.randrange(3)),
                "boot_manager": rng.random() < 0.5,
                "drivers": drivers,
                "network": [nic],
            }
        )
    kernels = [
        a_kernel(
            version=f"6.{n}",
            default=n == 0 and rng.random() < 0.7,
            in_initramfs=rng.sample(
                ("virtio_pci", "virtio_blk", "virtio_scsi", "sd_mod", "ahci"), rng.randrange(6)
            ),
            built_in=rng.sample(("virtio_pci", "sd_mod", "ahci"), rng.randrange(3)),
            initramfs_trouble=rng.choice(("", "", "it is damaged")),
            initramfs=rng.choice(("", "/boot/initrd")),
        )
        for n in range(rng.randrange(3))
    ]
    files = [
        dict(zip(("stack", "file", "text"), rng.choice(FILES), strict=True)) for _ in range(rng.randrange(3))
    ]
    mounts = [
        a_mount(
            mount,
            free=rng.choice((0, 20_000_000, 900_000_000)),
            mounted=rng.random() < 0.9,
            inodes=rng.choice((0, 9000)),
            free_inodes=rng.choice((0, 5000)),
        )
        for mount in rng.sample(("/", "/boot", "/var"), rng.randrange(4))
    ]
    return a_linux(
        {
            "kernels": kernels,
            "agents": rng.sample(("qemu_guest_agent", "open_vm_tools", "vmware_tools"), rng.randrange(4)),
            "network": files,
            "loaders": ["grub"],
        },
        type=rng.choice(("linux", "linux", "linux", "hurd")),
        distro=rng.choice(("debian", "debian", "gentoo", "unknown", "")),
        product=rng.choice(("Debian GNU/Linux 12", "12.5", "")),
        package_format=rng.choice(("deb", "unknown")),
        osinfo=rng.choice(("debian12", "unknown", "")),
        mounts=mounts,
    )
