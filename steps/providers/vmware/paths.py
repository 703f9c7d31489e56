"""Inventory paths in vSphere's notation and in the user's."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from pyVmomi import vim

from steps.providers.vmware.collector import Row

_ESCAPED: Final = {"%25": "%", "%2f": "/", "%5c": "\\"}
"""The characters that vSphere escapes in names (ManagedEntity.name)."""

Segments = tuple[str, ...]
"""A path as a tuple of names, as the user sees them."""


def unescape(name: str) -> str:
    """A name as the user sees it, from vSphere's notation."""
    return re.sub("%(25|2f|5c)", lambda match: _ESCAPED[match[0].lower()], name, flags=re.IGNORECASE)


def escape(name: str) -> str:
    """A name in vSphere's notation."""
    return re.sub(r"[%/\\]", lambda match: f"%{ord(match[0]):02x}", name)


def split_path(path: str) -> Segments:
    """The names on a path; leading, trailing and doubled slashes are ignored."""
    return tuple(unescape(name) for name in path.split("/") if name)


def join_path(names: Iterable[str]) -> str:
    """The path of those names in vSphere's notation."""
    return "/" + "/".join(map(escape, names))


class Tree:
    """The place of every object: the names from below a root down to it."""

    def __init__(self, rows: Iterable[Row], root: Any, prefix: Segments = ()) -> None:
        self._rows: Mapping[Any, Row] = {row.ref: row for row in rows}
        self._paths: dict[Any, Segments] = {root: prefix}

    def path(self, ref: Any) -> Segments:
        """The names down to that object; unreadable ones are left out."""
        if ref in self._paths:
            return self._paths[ref]
        row = self._rows.get(ref)
        if row is None:
            return ()
        path = (*self.path(_parent(row)), unescape(row.get("name", "")))
        self._paths[ref] = path
        return path


def _parent(row: Row) -> Any:
    """The parent of an object as the user sees it.

    A VM in a vApp has no parent, and a vApp's parent is a resource pool (VirtualMachine.parentVApp,
    VirtualApp.parentFolder).
    """
    if isinstance(row.ref, vim.VirtualApp):
        return row.get("parentFolder") or row.get("parentVApp")
    return row.get("parent") or row.get("parentVApp")
