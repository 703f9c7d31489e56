"""Names of files as they stand in archives, manifests and descriptors."""

from __future__ import annotations

from steps.contract import Exit, StepError

_LONGEST = 4096
"""Bytes, as Linux has it (PATH_MAX)."""


def checked(name: str, where: str) -> str:
    """The name without `./`. Nothing is ever written to it; but what leaves its folder means harm.

    Raises:
        StepError: UNSUPPORTED.
    """
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts or "\\" in name:
        raise _refused(name, where, "it leads out of the archive")
    if not parts or len(name) > _LONGEST or not name.isprintable():
        raise _refused(name, where, "no file is called that")
    return "/".join(parts)


def _refused(name: str, where: str, why: str) -> StepError:
    shown = name if len(name) <= 200 else f"{name[:200]}..."
    return StepError(Exit.UNSUPPORTED, f"{where} names {shown!r}", why, "pack it again with plain names")
