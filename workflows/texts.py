"""Checks of the texts in custom resources: their length, and that names are names. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from steps.model.naming import is_namespace, is_object_name, shown
from workflows.api.base import Model
from workflows.api.vm import LONGEST_PATCH

LONGEST: Final = 2048
"""Characters of any text in a spec. A VM's name has 80 at vSphere, 255 at OpenStack; paths are longer."""
LONGER: Final = {"spec.virtualMachine.patch": LONGEST_PATCH}
"""Texts that may be longer."""
MOST_REASONS: Final = 20
"""Reasons that one message lists."""
MOST_CHARACTERS: Final = 4096
"""Characters of a message in a status."""


def too_long(spec: Model) -> Iterator[str]:
    """A reason for each text of a spec that is longer than `LONGEST`."""
    for path, text in _texts("spec", spec.model_dump(by_alias=True, mode="json")):
        if len(text) > (most := LONGER.get(path, LONGEST)):
            yield f"{path} has {len(text)} characters; write at most {most}"


def _texts(path: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for key, part in value.items():
            yield from _texts(f"{path}.{key}", part)
    elif isinstance(value, list):
        for number, part in enumerate(value):
            yield from _texts(f"{path}[{number}]", part)


def bad_name(path: str, text: str) -> Iterator[str]:
    """A reason if a text that names an object is not empty and no object can have that name."""
    if text and not is_object_name(text):
        yield f"{path} {shown(text)} is not a valid name: use lower-case letters, digits, '-' and '.'"


def bad_namespace(path: str, text: str) -> Iterator[str]:
    """A reason if a text that names a namespace is not empty and no namespace can have that name."""
    if text and not is_namespace(text):
        yield f"{path} {shown(text)} is not a valid namespace: use lower-case letters, digits and '-'"


def message(reasons: tuple[str, ...]) -> str:
    """One bounded line of all reasons: a status must not grow with the text that somebody wrote."""
    more = len(reasons) - MOST_REASONS
    line = " | ".join(reasons[:MOST_REASONS]) + (f" | and {more} more" if more > 0 else "")
    line = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in line)
    return line if len(line) <= MOST_CHARACTERS else f"{line[:MOST_CHARACTERS]}..."
