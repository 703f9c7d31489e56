"""The keys of a source's Secret, mounted as files."""

from __future__ import annotations

from pathlib import Path

from steps.model.contract import Exit, StepError


def read_required(folder: Path, key: str) -> str:
    """A key's value.

    Raises:
        StepError: INVALID, if it is missing, empty or not text.
    """
    value = read_text(folder, key)
    if not value.strip():
        raise StepError(
            Exit.INVALID,
            f"the source's secret has no {key}",
            f"the key {key} is missing or empty",
            f"set {key} in the secret",
        )
    return value


def read_text(folder: Path, key: str) -> str:
    """A key's value without the final newline that editors and `echo` add; empty if the key does not exist.

    Raises:
        StepError: INVALID, if it is not text.
    """
    try:
        value = (folder / key).read_bytes().decode()
    except FileNotFoundError:
        return ""
    except UnicodeDecodeError:
        raise StepError(
            Exit.INVALID, f"the key {key} of the source's secret is not text", "it is not UTF-8"
        ) from None
    return value.removesuffix("\n").removesuffix("\r")
