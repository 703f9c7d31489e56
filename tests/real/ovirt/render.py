"""The two formats of the engine's answers, from one document, and the bodies of requests.

A document is what the engine's JSON has, with Python values: a list stands for repeated elements. In XML
`id`, `href` and `rel` are attributes. In JSON every value is a string, and empty lists are left out.
"""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from typing import Any, Final

Document = dict[str, Any]

_ATTRIBUTES: Final = ("href", "id", "rel")


class MalformedError(ValueError):
    """The body of a request is no document."""


def as_json(document: Document) -> bytes:
    return json.dumps(_strings(document), indent=2).encode()


def as_xml(root: str, document: Document) -> bytes:
    body: bytes = ET.tostring(_element(root, document), encoding="utf-8")
    return b'<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n' + body


def text(value: object) -> str:
    """A scalar as both formats write it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _strings(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _strings(item) for key, item in value.items() if item is not None and item != []}
    if isinstance(value, list):
        return [_strings(item) for item in value]
    return text(value)


def _element(name: str, value: Any) -> ET.Element:
    element = ET.Element(name)
    if not isinstance(value, Mapping):
        element.text = text(value)
        return element
    for key in _ATTRIBUTES:
        if value.get(key) is not None:
            element.set(key, text(value[key]))
    for key in sorted(value):
        if key in _ATTRIBUTES or value[key] is None:
            continue
        items = value[key] if isinstance(value[key], list) else [value[key]]
        element.extend(_element(key, item) for item in items)
    return element


def parse(body: bytes, content_type: str) -> Document:
    """The document of a request; empty for an empty body.

    Raises:
        MalformedError: it is neither XML nor JSON, as the type says, or no object.
    """
    if not body.strip():
        return {}
    try:
        document = json.loads(body) if "json" in content_type else _read(body)
    except (ValueError, ET.ParseError) as error:
        raise MalformedError(str(error)) from error
    if not isinstance(document, dict):
        raise MalformedError("not an object")
    return document


def _read(xml: bytes) -> Any:
    return _document(ET.fromstring(xml)) or {}  # noqa: S314 - a test's own client


def _document(element: ET.Element) -> Any:
    if not len(element) and not element.attrib:
        return (element.text or "").strip()
    document: Document = dict(element.attrib)
    for child in element:
        value = _document(child)
        if child.tag in document:
            before = document[child.tag]
            document[child.tag] = [*(before if isinstance(before, list) else [before]), value]
        else:
            document[child.tag] = value
    return document
