"""`vmferry demo`: an import from start to end, on one computer."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from rich.console import Console

from controller.cli.app import INTERRUPTED, print_error
from controller.cli.main import attempt
from steps.model.contract import Exit, StepError
from tests import demosources
from tests.demosources import Kind
from tests.real import scenario

MARK: Final = ".vmferry-demo"
BOOT_SECONDS: Final = 180
TERMINAL: Final = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]")
"""What GRUB sends to clear the screen: it would remove the earlier output."""
say = Console(stderr=True, highlight=False)


def demo(into: Path, kind: Kind) -> int:
    """Import the guest from a source of that kind into `into` and boot it; returns the exit code.

    Raises:
        StepError: CONFLICT, if `into` contains something else.
    """
    began = time.monotonic()
    _clear(into)
    with demosources.at(kind, into) as stage:
        say.print(f"\n{stage.where} in it: Debian, 2 disks, 2 NICs.\n", soft_wrap=True)
        machine = into / scenario.VM
        code = _vmferry("run", "-f", str(stage.manifests), "--into", str(machine))
        if code != Exit.DONE:
            return code
        say.print(f"\nAt the source: {stage.left()}.\n")
    console = into / "console.log"
    code = _boot(machine, console)
    if code != Exit.DONE:
        return code
    report = scenario.proven(console.read_text(errors="replace"), stage.data)
    assert report.data is not None
    say.print(f"\n[green]✔[/] booted from the imported disks, {report.firmware}, {report.cpus} CPUs")
    say.print(f"[green]✔[/] NICs {', '.join(f'{nic.mac} {nic.driver}' for nic in report.nics)}")
    say.print(f"[green]✔[/] nonce   {report.data.nonce}")
    say.print(f"[green]✔[/] SHA-256 {report.data.sha256}")
    say.print("  the data of the original VM")
    say.print(
        f"\nDone in {time.monotonic() - began:.0f} s. Look around in {machine}; next: docs/reference/cli.md"
    )
    return Exit.DONE


def _clear(into: Path) -> None:
    if into.exists() and any(into.iterdir()) and not (into / MARK).exists():
        raise StepError(Exit.CONFLICT, f"{into} is not empty", "and not from a demo", "choose another --into")
    shutil.rmtree(into, ignore_errors=True)
    into.mkdir(parents=True)
    (into / MARK).touch()


def _vmferry(*argv: str) -> int:
    say.print(f"[bold]$ vmferry {' '.join(argv)}[/]", soft_wrap=True)
    return attempt(argv)


def _boot(machine: Path, console: Path) -> int:
    """`vmferry boot`, with its console shown and saved."""
    argv = ["boot", str(machine), "--timeout", str(BOOT_SECONDS)]
    say.print(f"[bold]$ vmferry {' '.join(argv)}[/]", soft_wrap=True)
    return _tee([sys.executable, "-m", "controller.cli.main", *argv], console)


def _tee(argv: Sequence[str], log: Path) -> int:
    with (
        log.open("wb") as file,
        subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process,
    ):
        assert process.stdout is not None
        for line in process.stdout:
            file.write(line)
            sys.stdout.buffer.write(TERMINAL.sub(b"", line))
            sys.stdout.flush()
    return process.returncode


def main() -> int:
    """`python -m tests.demo FOLDER KIND`, as `vmferry demo` runs it."""
    try:
        return demo(Path(sys.argv[1]), Kind(sys.argv[2]))
    except StepError as error:
        print_error(str(error))
        return error.code
    except KeyboardInterrupt:
        print_error("stopped")
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
