"""The command line application: shared options, output, and errors as one line and an exit code."""

from __future__ import annotations

import contextlib
import enum
import functools
import json
import os
import sys
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, ParamSpec

import structlog
import typer
from rich.console import Console
from rich.markup import escape
from typer.core import TyperCommand

from controller.local.tempdir import delete_stale
from controller.manifests.read import InvalidManifestsError
from steps import __version__
from steps.model.contract import Exit, StepError, Stopped
from steps.model.yaml import to_yaml

P = ParamSpec("P")

INTERRUPTED: Final = 130
"""The exit code that a shell shows for a program that Ctrl-C ended."""

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Import VMs from vSphere, OpenStack, oVirt, KubeVirt and OVA into Harvester, or into a folder to "
    "try it.",
    epilog="Exit codes: 0 done; 2 wrong command line; 10-19 correct the request or its surroundings; "
    "20 another step failed; 21 the VM was started at its source; 30-32 and 70 a retry may help; "
    "130 Ctrl-C; 143 SIGTERM.",
)


class _Output(Console):
    """Standard output. Rich would close the current `sys.stdout`, which may be another file by then."""

    def on_broken_pipe(self) -> None:
        self.discard_rest()
        raise SystemExit(1)

    def discard_rest(self) -> None:
        """Let nothing that is still to be written there fail once more."""
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.file.fileno())


out = _Output(emoji=False, width=None if sys.stdout and sys.stdout.isatty() else 400)
err = Console(stderr=True, emoji=False)  # `:ab:` in a MAC address or a thumbprint is no emoji

Manifest = Annotated[
    list[str] | None,
    typer.Option("-f", "--filename", help="YAML as for kubectl apply: a file, a folder, or - for stdin."),
]


class OutputFormat(enum.StrEnum):
    """The format of standard output."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


Output = Annotated[
    OutputFormat,
    typer.Option("-o", "--output", help="Output format: a table for people, json or yaml for programs."),
]
Folder = Annotated[
    Path, typer.Argument(metavar="DIR", help="Folder of the import, as given to `run --into`.")
]


def attempt(argv: Sequence[str] | None = None) -> int:
    """Run the command line in this process; returns the exit code."""
    try:
        _parser()(argv, prog_name="vmferry")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else Exit.INTERNAL
    except InvalidManifestsError as error:
        for fault in error.faults:
            print_error(fault)
        return error.code
    except StepError as error:
        print_error(str(error))
        return error.code
    except (KeyboardInterrupt, Stopped):
        print_error("stopped")
        return INTERRUPTED
    return Exit.DONE


@functools.cache
def _parser() -> Any:
    """The parser of all commands, as the first call finds them: `app` itself would make one for each call."""
    return typer.main.get_command(app)


def command(
    epilog: str, name: str | None = None, cls: type[TyperCommand] = TyperCommand
) -> Callable[[Callable[P, int]], Callable[P, int]]:
    """Register a command that returns its exit code; `cls` parses its options."""

    def register(function: Callable[P, int]) -> Callable[P, int]:
        @functools.wraps(function)
        def leave(*args: P.args, **kwargs: P.kwargs) -> int:
            with _documents_only():
                code = function(*args, **kwargs)
            raise typer.Exit(code)

        app.command(name, cls=cls, epilog=epilog)(leave)
        return function

    return register


@contextlib.contextmanager
def _documents_only() -> Iterator[None]:
    """While a command runs, only `out` writes to standard output.

    Everything else that is printed or logged goes to standard error, such as a warning of a library.
    """
    structlog.configure(
        processors=[structlog.stdlib.add_log_level, _print_record], cache_logger_on_first_use=False
    )
    out.file = sys.stdout
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        out.file = None  # type: ignore[assignment]  # rich then uses the sys.stdout of the next call


def _print_record(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> str:
    """Print a structlog record as one line on standard error."""
    level, text = event.pop("level", "info"), str(event.pop("event", ""))
    fields = ", ".join(f"{key} {value}" for key, value in event.items() if key != "exc_info")
    line = f"{text} ({fields})" if fields else text
    if level in ("warning", "error", "critical"):
        print_warning(line)
    elif level == "info":
        err.print(escape(line), style="dim", highlight=False, soft_wrap=True)
    raise structlog.DropEvent


def print_error(text: str) -> None:
    """Print an error as one line."""
    err.print(f"[red]error:[/] {escape(text)}", soft_wrap=True, highlight=False)


def print_warning(text: str) -> None:
    """Print a warning as one line."""
    err.print(f"[yellow]warning:[/] {escape(text)}", soft_wrap=True, highlight=False)


def _version(value: bool) -> None:
    if value:
        out.print(f"vmferry {__version__}", highlight=False)
        raise typer.Exit


@app.callback()
def _root(
    _show: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    delete_stale()  # leftovers of a killed vmferry, which may include credentials


def dump(value: Any, output: OutputFormat) -> None:
    """Print a document for a program."""
    plain = json.loads(json.dumps(value))
    write(to_yaml(plain) if output is OutputFormat.YAML else json.dumps(plain, indent=2) + "\n")


def write(document: str) -> None:
    """Write a document to standard output as it is, as every command does that writes one there.

    Raises:
        StepError: INVALID, when it cannot be written there.
    """
    try:
        out.file.write(document)
        out.file.flush()
    except BrokenPipeError:  # as for what rich prints: the reader has closed the pipe
        out.on_broken_pipe()
    except OSError as error:  # a full filesystem
        out.discard_rest()
        raise StepError(Exit.INVALID, "cannot write to standard output", error.strerror or "") from None
