"""Many properties of many objects in a few calls (PropertyCollector), whatever the inventory's size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import structlog
from pyVmomi import vim, vmodl

from steps.providers.vmware import faults
from steps.providers.vmware.session import Session
from steps.runtime import retry

log = structlog.get_logger()

PAGE: Final = 500
"""Objects in one answer (RetrieveOptions.maxObjects): keeps each call well within its time limit."""

_query: Any = vmodl.query.PropertyCollector  # its constructors are not typed


@dataclass(frozen=True)
class Row:
    """One object and its readable properties."""

    ref: Any
    properties: Mapping[str, Any]

    @property
    def id(self) -> str:
        return str(self.ref._moId)

    def get(self, path: str, default: Any = None) -> Any:
        """The property's value; the default if it is unset or not readable."""
        value = self.properties.get(path)
        return default if value is None else value


def read_below(
    session: Session, container: Any, properties_by_type: Mapping[Any, Sequence[str]]
) -> list[Row]:
    """The properties of all objects of the wanted types anywhere below `container`.

    Raises:
        StepError: as mapped by faults.py.
    """
    with faults.as_step_error("cannot read the inventory", session.endpoint):
        for attempt in retry.attempts(session.stop, faults.is_transient):
            with attempt, _view(session, container, list(properties_by_type)) as view:
                traversal = _query.TraversalSpec(
                    name="view", path="view", skip=False, type=vim.view.ContainerView
                )
                start = _query.ObjectSpec(obj=view, skip=True, selectSet=[traversal])
                return list(_retrieve(session, [start], properties_by_type))
    raise AssertionError  # attempts() either succeeds or raises


def read_all(session: Session, refs: Iterable[Any], paths: Sequence[str]) -> list[Row]:
    """The properties of the objects given, which must be of one type.

    Raises:
        StepError: NOT_FOUND if one of them was deleted; else as mapped by faults.py.
    """
    starts = [_query.ObjectSpec(obj=ref, skip=False) for ref in refs]
    if not starts:
        return []
    with faults.as_step_error("cannot read from the source", session.endpoint):
        for attempt in retry.attempts(session.stop, faults.is_transient):
            with attempt:
                return list(_retrieve(session, starts, {type(starts[0].obj): paths}))
    raise AssertionError


def read_one(session: Session, ref: Any, *paths: str) -> Row:
    """The properties of one object. Raises StepError: NOT_FOUND if it was deleted."""
    rows = read_all(session, [ref], paths)
    return rows[0] if rows else Row(ref, {})


@contextmanager
def _view(session: Session, container: Any, kinds: list[Any]) -> Iterator[Any]:
    """A view is bound to the session and ends with it at the latest."""
    view = session.content.viewManager.CreateContainerView(container=container, type=kinds, recursive=True)
    try:
        yield view
    finally:
        try:
            view.DestroyView()
        except Exception as error:
            log.debug("could not destroy a view", why=str(error))


def _retrieve(
    session: Session, starts: list[Any], properties_by_type: Mapping[Any, Sequence[str]]
) -> Iterator[Row]:
    """PropertyCollector.RetrievePropertiesEx, page by page; missing properties are left out."""
    collector = session.content.propertyCollector
    property_specs = [
        _query.PropertySpec(type=kind, pathSet=list(paths), all=False)
        for kind, paths in properties_by_type.items()
    ]
    filter_spec = _query.FilterSpec(objectSet=starts, propSet=property_specs)
    page = collector.RetrievePropertiesEx([filter_spec], _query.RetrieveOptions(maxObjects=PAGE))
    while page is not None:
        for content in page.objects:
            yield Row(content.obj, {prop.name: prop.val for prop in content.propSet})
        if not page.token:
            return
        session.stop.check()
        page = collector.ContinueRetrievePropertiesEx(page.token)
