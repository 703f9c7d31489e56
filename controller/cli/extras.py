"""Commands beside the import itself: old manifests, a try under QEMU, the demo."""

from __future__ import annotations

import enum
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Final, NoReturn

import typer
from rich.markup import escape

from controller.cli import migrate
from controller.cli.app import Folder, command, err, say_warning
from controller.local import qemu_boot
from steps.model.contract import Exit, StepError


def migrate_manifests(
    filename: Annotated[list[str], typer.Option("-f", "--filename", help="YAML: a file, a folder, or -.")],
    output: Annotated[
        str, typer.Option("-o", "--output", metavar="DIR|-", help="A file each in a folder, or all here.")
    ] = "-",
) -> int:
    """Turn manifests of before Harvester v1.1 into those of `migration.harvesterhci.io/v1beta1`.

    Vmware, Vsphere and Openstack of `source.harvesterhci.io`, VirtualMachine of `importjob.harvesterhci.io`
    are converted, comments and order kept; everything else passes unchanged. A warning names each field and
    comment that has no place any more and each name that had to be changed.
    """
    made = migrate.migrate(filename)
    for warning in (line for one in made for line in one.warnings):
        say_warning(warning)
    for file in migrate.write(made, None if output == "-" else Path(output)):
        err.print(f"wrote {escape(str(file))}", highlight=False, soft_wrap=True)
    return Exit.DONE


def boot(
    folder: Folder,
    persistent: Annotated[bool, typer.Option(help="Let the machine change its disks.")] = False,
    kvm: Annotated[bool, typer.Option(help="Use /dev/kvm when it is there.")] = True,
    memory: Annotated[int | None, typer.Option(help="MiB, instead of the manifest's.")] = None,
    timeout: Annotated[float | None, typer.Option(help="Seconds until the machine must be off.")] = None,
) -> int:
    """Boot an imported machine under QEMU and show its serial console; its disks stay as they are.

    It runs cut off from the network, with the firmware, buses, cards and MACs of its manifest. On a terminal
    Ctrl-a x ends it.
    """
    console = (
        ["-serial", "mon:stdio"]
        if sys.stdin.isatty()
        else ["-serial", "file:/dev/stdout", "-monitor", "none"]
    )
    qemu_boot.load(folder)
    if kvm and not qemu_boot.kvm_usable():
        err.print("no usable KVM on this machine: software emulation, which is slower", style="dim")
    options = qemu_boot.Options(persistent=persistent, kvm=kvm, memory_mib=memory)
    code = qemu_boot.boot(folder, options, console, timeout=timeout)
    return Exit.DONE if code == 0 else Exit.INTERNAL


class DemoSource(enum.StrEnum):
    """Kinds of source that the demo can start."""

    VMWARE = "vmware"
    OPENSTACK = "openstack"
    OVA = "ova"


_NEEDED: Final = {
    DemoSource.VMWARE: ("packages", "vcenter", "guest"),
    DemoSource.OPENSTACK: ("packages", "openstack", "guest"),
    DemoSource.OVA: ("packages", "guest"),
}
"""Targets of tests/prepare.sh."""


def demo(
    into: Annotated[Path, typer.Option(help="Folder for the demo; made anew each time.")] = Path("demo"),
    source: Annotated[
        DemoSource | None,
        typer.Option(help="What to import from; default: vmware, or ova where there is no Go."),
    ] = None,
) -> int:
    """Import a machine from a source that is started for it and boot it. Needs a checkout."""
    checkout = Path(__file__).parents[2]
    prepare = checkout / "tests" / "prepare.sh"
    if not prepare.exists():
        raise StepError(
            Exit.UNSUPPORTED,
            "the demo is part of the source tree",
            f"there is none around {checkout}",
            "clone the repository and say `make demo`",
        )
    if source is None and shutil.which("go") is None:
        err.print("no Go here, with which the simulated vCenter is built: the demo takes an OVA", style="dim")
        source = DemoSource.OVA
    kind = source or DemoSource.VMWARE
    if subprocess.run([prepare, *_NEEDED[kind]], check=False).returncode:
        return Exit.INVALID
    return _become_demo(checkout, into, kind)


def _become_demo(checkout: Path, into: Path, kind: DemoSource) -> NoReturn:
    """Run the demo in the place of this process: it is a test program, and Ctrl-C is for it."""
    found = [str(checkout), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(found)}
    command_line = [sys.executable, "-m", "tests.demo", str(into), kind]
    os.execve(sys.executable, command_line, environment)  # noqa: S606 - a list of words needs no shell


def register() -> None:
    """Add the commands to the application, behind those that are there."""
    command(
        name="migrate-manifests",
        epilog="Examples: vmferry migrate-manifests -f old.yaml > new.yaml · "
        "vmferry migrate-manifests -f manifests/ -o migrated/ · kubectl get … -o yaml | "
        "vmferry migrate-manifests -f - | kubectl apply -f -",
    )(migrate_manifests)
    command(epilog="Example: vmferry boot ./alpine --timeout 120")(boot)
    command(epilog="Examples: vmferry demo · vmferry demo --source openstack --into ./demo")(demo)
