"""The commit that a release is made from."""

from __future__ import annotations

import os
from pathlib import Path

from images.release.errors import ReleaseError
from images.release.programs import run


def commit(root: Path, *, draft: bool) -> tuple[str, int]:
    """The commit of a checkout, and its time in seconds since 1970, or that of SOURCE_DATE_EPOCH.

    Raises ReleaseError for a tree with changes, unless it is for a draft: then the commit ends with
    `-changed`.
    """
    changed = _git(root, "status", "--porcelain")
    if changed and not draft:
        raise ReleaseError(
            f"the tree has changes that are not committed: commit them, or use --draft:\n{changed}"
        )
    revision = _git(root, "rev-parse", "HEAD") + ("-changed" if changed else "")
    return revision, int(os.environ.get("SOURCE_DATE_EPOCH") or _git(root, "log", "-1", "--format=%ct"))


def _git(root: Path, *arguments: str) -> str:
    return run(["git", *arguments], "a release is made from a git checkout", root).strip()
