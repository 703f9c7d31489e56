"""Further commands: `migrate-manifests`, `boot` under QEMU, `demo`."""

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
from controller.cli.app import Folder, command, err, print_warning
from controller.local import qemu_boot
from steps.model.contract import Exit, StepError


def migrate_manifests(
    filename: Annotated[list[str], typer.Option("-f", "--filename", help="YAML: a file, a folder, or -.")],
    output: Annotated[
        str,
        typer.Option(
            "-o",
            "--output",
            metavar="DIR|-",
            help="Folder for one file per input, or `-` for standard output.",
        ),
    ] = "-",
) -> int:
    """Convert manifests from before Harvester v1.1 to `migration.harvesterhci.io/v1beta1`.

    Vmware, Vsphere, Openstack and Harvester of `source.harvesterhci.io`, VirtualMachine of
    `importjob.harvesterhci.io` are converted; comments and order are kept, and other resources pass
    unchanged. A warning names each field and comment that has no equivalent, each name that was changed, and
    each import that has ended or was begun. `plan`, `run` and `inventory` read such manifests as they are.
    """
    results = migrate.migrate(filename)
    for warning in (line for result in results for line in result.warnings):
        print_warning(warning)
    for file in migrate.write(results, None if output == "-" else Path(output)):
        err.print(f"wrote {escape(str(file))}", highlight=False, soft_wrap=True)
    return Exit.DONE


def boot(
    folder: Folder,
    persistent: Annotated[bool, typer.Option(help="Let the VM change its disks.")] = False,
    kvm: Annotated[bool, typer.Option(help="Use /dev/kvm if it is available.")] = True,
    memory: Annotated[int | None, typer.Option(help="Memory in MiB, instead of the manifest's.")] = None,
    timeout: Annotated[
        float | None, typer.Option(help="Seconds after which a VM that still runs is an error.")
    ] = None,
) -> int:
    """Boot an imported VM under QEMU and show its serial console. Its disks stay unchanged.

    The VM has no network. It has the firmware, buses, NICs and MACs of its manifest. On a terminal Ctrl-a x
    ends it.
    """
    console = (
        ["-serial", "mon:stdio"]
        if sys.stdin.isatty()
        else ["-serial", "file:/dev/stdout", "-monitor", "none"]
    )
    qemu_boot.load_manifest(folder)
    if kvm and not qemu_boot.kvm_usable():
        err.print("/dev/kvm cannot be used; QEMU emulates the processor, which is slower", style="dim")
    options = qemu_boot.BootOptions(persistent=persistent, kvm=kvm, memory_mib=memory)
    code = qemu_boot.boot(folder, options, console, timeout=timeout)
    return Exit.DONE if code == 0 else Exit.INTERNAL


class DemoSource(enum.StrEnum):
    """Kinds of source that the demo can start."""

    VMWARE = "vmware"
    OPENSTACK = "openstack"
    OVA = "ova"
    OVIRT = "ovirt"


_NEEDED: Final = {
    DemoSource.VMWARE: ("packages", "vcenter", "guest"),
    DemoSource.OPENSTACK: ("packages", "openstack", "guest"),
    DemoSource.OVA: ("packages", "guest"),
    DemoSource.OVIRT: ("packages", "ovirt", "guest"),
}
"""Targets of tests/prepare.sh."""


def demo(
    into: Annotated[Path, typer.Option(help="Folder for the demo. It is created again each time.")] = Path(
        "demo"
    ),
    source: Annotated[
        DemoSource | None,
        typer.Option(help="Kind of source. Default: vmware, or ova if Go is not installed."),
    ] = None,
) -> int:
    """Run the demo: start a simulated source, import a VM from it and boot it. Needs a source checkout."""
    checkout = Path(__file__).parents[2]
    prepare = checkout / "tests" / "prepare.sh"
    if not prepare.exists():
        raise StepError(
            Exit.UNSUPPORTED,
            "the demo needs the source tree",
            f"{checkout} is not a checkout",
            "clone the repository and run `make demo`",
        )
    if source is None and shutil.which("go") is None:
        err.print(
            "Go is not installed, so the simulated vCenter cannot be built; the demo imports an OVA",
            style="dim",
        )
        source = DemoSource.OVA
    kind = source or DemoSource.VMWARE
    if subprocess.run([prepare, *_NEEDED[kind]], check=False).returncode:
        return Exit.INVALID
    return _become_demo(checkout, into, kind)


def _become_demo(checkout: Path, into: Path, kind: DemoSource) -> NoReturn:
    """Replace this process with the demo, a test program, so that Ctrl-C reaches it."""
    search_path = [str(checkout), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(search_path)}
    command_line = [sys.executable, "-m", "tests.demo", str(into), kind]
    os.execve(sys.executable, command_line, environment)  # noqa: S606 - a list of arguments, no shell


def register() -> None:
    """Add the commands to the application."""
    command(
        name="migrate-manifests",
        epilog="Examples: vmferry migrate-manifests -f old.yaml > new.yaml · "
        "vmferry migrate-manifests -f manifests/ -o migrated/ · kubectl get … -o yaml | "
        "vmferry migrate-manifests -f - | kubectl apply -f -",
    )(migrate_manifests)
    command(epilog="Example: vmferry boot ./alpine --timeout 120")(boot)
    command(epilog="Examples: vmferry demo · vmferry demo --source openstack --into ./demo")(demo)
