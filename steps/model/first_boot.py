"""Scripts that a guest runs once, when it starts for the first time at its target. Pure.

Linux: a unit of systemd runs them in the order of their names, and never again. Windows: virt-v2v's own
service runs them, with the restarts that it needs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from steps.model.contract import Exit, StepError

MOST_SCRIPTS: Final = 32
LARGEST: Final = 1 << 20
"""Bytes of all scripts: a ConfigMap holds no more."""
FOLDER: Final = "/usr/local/lib/vmferry/first-boot"
RUNNER: Final = "/usr/local/lib/vmferry/first-boot.sh"
DONE: Final = "/var/lib/vmferry/first-boot"
UNIT: Final = "/etc/systemd/system/vmferry-first-boot.service"
WANTED_BY: Final = "/etc/systemd/system/multi-user.target.wants/vmferry-first-boot.service"
V2V_UNIT: Final = "guestfs-firstboot.service"
"""virt-v2v's own unit (common/mlcustomize/firstboot.ml). Both may install packages, under one lock."""
WINDOWS_FOLDER: Final = "/Program Files/Guestfs/Firstboot/scripts"
"""Where virt-v2v's service looks (common/mlcustomize/firstboot.ml)."""
WINDOWS_FIRST: Final = 8000
"""virt-v2v's own scripts have lower numbers."""
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
AGENT: Final = "00-qemu-guest-agent"


@dataclass(frozen=True)
class Script:
    """A script by its name in the ConfigMap."""

    name: str
    content: bytes


def scripts(given: Mapping[str, bytes]) -> tuple[Script, ...]:
    """The scripts in the order in which they run.

    Raises:
        StepError: INVALID, for a name that is no plain file name, and for too many or too large scripts.
    """
    if len(given) > MOST_SCRIPTS or sum(map(len, given.values())) > LARGEST:
        raise StepError(
            Exit.INVALID,
            "the scripts of spec.guest.firstBoot cannot be used",
            f"there are {len(given)} with {sum(map(len, given.values()))} bytes",
            f"give at most {MOST_SCRIPTS} with {LARGEST} bytes together",
        )
    for name in given:
        if not _NAME.fullmatch(name):
            raise StepError(
                Exit.INVALID,
                f"the script {name!r} of spec.guest.firstBoot has no usable name",
                remedy="use letters, digits, '.', '_' and '-', at most 100 characters",
            )
    return tuple(Script(name, given[name]) for name in sorted(given))


def linux_files(given: Iterable[Script], *, agent: bool) -> Iterator[tuple[str, bytes, int]]:
    """(path, content, mode) of everything that a Linux gets. A script without `#!` is one of /bin/sh."""
    for number, script in enumerate(given):
        content = script.content if script.content.startswith(b"#!") else b"#!/bin/sh\n" + script.content
        yield f"{FOLDER}/{number + 1:02d}-{script.name}", content, 0o700
    if agent:
        yield f"{FOLDER}/{AGENT}", _AGENT.encode(), 0o700
    yield RUNNER, _RUNNER.encode(), 0o700
    yield UNIT, _UNIT.encode(), 0o644


def windows_files(given: Iterable[Script]) -> Iterator[tuple[str, bytes, int]]:
    """The same for virt-v2v's service, which runs `.bat` files.

    Raises:
        StepError: INVALID, for a script that is no batch file.
    """
    for number, script in enumerate(given):
        if not script.name.lower().endswith((".bat", ".cmd")):
            raise StepError(
                Exit.INVALID,
                f"Windows cannot run the script {script.name} of spec.guest.firstBoot",
                "its name ends with neither .bat nor .cmd",
                "write a batch file, which may call PowerShell",
            )
        name = re.sub(r"(?i)\.cmd$", ".bat", script.name)
        yield f"{WINDOWS_FOLDER}/{WINDOWS_FIRST + number}-{name}", script.content, 0o644


_UNIT: Final = f"""\
# Written by vmferry: runs the scripts in {FOLDER} once.
[Unit]
Description=First start after an import by vmferry
Wants=network-online.target
After=network-online.target {V2V_UNIT}
ConditionPathIsDirectory={FOLDER}

[Service]
ExecStart={RUNNER}

[Install]
WantedBy=multi-user.target
"""
_RUNNER: Final = f"""\
#!/bin/sh
# Written by vmferry: runs each script once, in the order of their names. A failure does not stop the others.
mkdir -p {DONE}
for script in {FOLDER}/*; do
    [ -x "$script" ] || continue
    name=${{script##*/}}
    [ ! -e "{DONE}/$name" ] || continue
    : > "{DONE}/$name"
    echo "vmferry: running $name"
    "$script" || echo "vmferry: $name ended with code $?"
done
rm -f {WANTED_BY}
"""
_AGENT: Final = """\
#!/bin/sh
# Written by vmferry: installs qemu-guest-agent from the guest's own repositories, if it is not there.
[ ! -x /usr/sbin/qemu-ga ] && [ ! -x /usr/bin/qemu-ga ] || exit 0
if command -v apt-get >/dev/null; then
    export DEBIAN_FRONTEND=noninteractive
    apt-get install -y -q qemu-guest-agent || { apt-get update -q && apt-get install -y -q qemu-guest-agent; }
elif command -v dnf >/dev/null; then dnf install -y qemu-guest-agent
elif command -v yum >/dev/null; then yum install -y qemu-guest-agent
elif command -v zypper >/dev/null; then zypper --non-interactive install qemu-guest-agent
else echo "no package manager that vmferry knows"; exit 1
fi
systemctl start qemu-guest-agent
"""
