"""The frame of the command line: its application, what commands share, errors to one line and exit code."""

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

from controller.local.tempdir import sweep
from controller.manifests.read import InvalidManifestsError
from steps import __version__
from steps.model.contract import Exit, StepError, Stopped
from steps.model.yaml import to_yaml

P = ParamSpec("P")

INTERRUPTED: Final = 130
"""What a shell shows for a program that Ctrl-C ended."""

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Import VMs from vSphere, OpenStack and OVA into Harvester, or into a folder for a first try.",
    epilog="Exit codes: 0 done; 2 wrong command line; 10-19 correct the request or its surroundings; "
    "20 another step failed; 30-32 and 70 a retry may help; 130 Ctrl-C; 143 SIGTERM.",
)


class _Output(Console):
    """Standard output; rich would close whatever `sys.stdout` is, which may be another file meanwhile."""

    def on_broken_pipe(self) -> None:
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.file.fileno())
        raise SystemExit(1)


out = _Output(emoji=False, width=None if sys.stdout.isatty() else 400)
err = Console(stderr=True, emoji=False)  # `:ab:` in a MAC address or a thumbprint is no emoji

Manifest = Annotated[
    list[str] | None,
    typer.Option("-f", "--filename", help="YAML as for kubectl apply: a file, a folder, or - for stdin."),
]


class Format(enum.StrEnum):
    """What goes to standard output."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


Output = Annotated[
    Format,
    typer.Option("-o", "--output", help="Output format: a table for people, json or yaml for programs."),
]
Folder = Annotated[
    Path, typer.Argument(metavar="DIR", help="Folder of the import, as given to `run --into`.")
]


def attempt(argv: Sequence[str] | None = None) -> int:
    """Run the command line without leaving the process."""
    try:
        app(argv, prog_name="vmferry")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else Exit.INTERNAL
    except InvalidManifestsError as error:
        for fault in error.faults:
            say_error(fault)
        return error.code
    except StepError as error:
        say_error(str(error))
        return error.code
    except (KeyboardInterrupt, Stopped):
        say_error("stopped")
        return INTERRUPTED
    return Exit.DONE


def command(
    epilog: str, name: str | None = None, cls: type[TyperCommand] = TyperCommand
) -> Callable[[Callable[P, int]], Callable[P, int]]:
    """Register a command whose result is the exit code; `cls` for one that reads its options otherwise."""

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
    """While a command runs, standard output is for `out` alone.

    What anything else prints or logs on the way goes to standard error: a retry, a warning of a library.
    """
    structlog.configure(processors=[structlog.stdlib.add_log_level, _tell], cache_logger_on_first_use=False)
    out.file = sys.stdout
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        out.file = None  # type: ignore[assignment]  # whatever sys.stdout is when it is used next


def _tell(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> str:
    """A record of structlog as a line for a person, on standard error."""
    level, text = event.pop("level", "info"), str(event.pop("event", ""))
    more = ", ".join(f"{key} {value}" for key, value in event.items() if key != "exc_info")
    line = f"{text} ({more})" if more else text
    if level in ("warning", "error", "critical"):
        say_warning(line)
    elif level == "info":
        err.print(escape(line), style="dim", highlight=False, soft_wrap=True)
    raise structlog.DropEvent


def say_error(text: str) -> None:
    """One line that says what went wrong."""
    err.print(f"[red]error:[/] {escape(text)}", soft_wrap=True, highlight=False)


def say_warning(text: str) -> None:
    """One line that a person should know of, though all goes on."""
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
    sweep()  # what a killed vmferry left in the temporary folder, credentials perhaps


def dump(value: Any, output: Format) -> None:
    """Print a document for a program."""
    plain = json.loads(json.dumps(value))
    write(to_yaml(plain) if output is Format.YAML else json.dumps(plain, indent=2) + "\n")


def write(document: str) -> None:
    """Write a document to standard output as it is, as every command does that writes one there."""
    try:
        out.file.write(document)
        out.file.flush()
    except BrokenPipeError:  # as for what rich prints: whoever read it has seen enough
        out.on_broken_pipe()
