"""Parts of an object that somebody else wrote: a part of another shape counts as absent. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from steps.model.kinds import Object


def mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def rows(value: Any) -> Iterator[Mapping[str, Any]]:
    """The items of a list that are mappings."""
    return (row for row in value if isinstance(row, Mapping)) if isinstance(value, list) else iter(())


def text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def labels_of(resource: Object | None) -> Mapping[str, Any]:
    """The labels of an object; none if there is no object."""
    return mapping(mapping(mapping(resource).get("metadata")).get("labels"))


def annotations_of(resource: Object | None) -> Mapping[str, Any]:
    """The annotations of an object; none if there is no object."""
    return mapping(mapping(mapping(resource).get("metadata")).get("annotations"))
