"""Asks a person for a confirmation."""

from __future__ import annotations

import sys

import typer

from steps.model.contract import Exit, StepError


def ask(command: str, question: str) -> None:
    """Ask. Raises StepError (INVALID) where nobody can answer, or the answer is no."""
    if not sys.stdin.isatty():
        raise StepError(
            Exit.INVALID, f"{command} needs a confirmation", "standard input is no terminal", "add --yes"
        )
    if not typer.confirm(question, err=True):
        raise StepError(Exit.INVALID, "nothing was changed", f"the {command} was not confirmed")
