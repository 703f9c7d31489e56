"""The options by which the steps of the exit handler know how the import ended."""

from __future__ import annotations

from steps.runtime.program import Arguments


def add_options(parser: Arguments) -> None:
    """Add `--outcome` and `--undo`."""
    parser.add_argument(
        "--outcome", metavar="PHASE", default="", help="how the import ended: Succeeded, Failed or Error"
    )
    parser.add_argument(
        "--undo", choices=["true", "false"], default="false", help="undo the import, however it ended"
    )
