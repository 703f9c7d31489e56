"""Untrusted XML as a plain tree.

Descriptors have no document type: one is refused, and with it entities, external files
and every attack based on them. defusedxml would add only that to the expat of the standard library,
which does the rest; size, depth and number of elements are limited here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final
from xml.parsers import expat

from steps.model.contract import Exit, StepError

MAX_BYTES: Final = 8 << 20
"""Of a descriptor: those of large appliances with translations and licences have some 500 KiB."""
_MAX_DEPTH: Final = 64
_MAX_NODES: Final = 200_000
_OVF_NAMESPACE: Final = "ovf/envelope"
"""Part of the namespace in all versions; its attributes take precedence over a vendor's."""


@dataclass(eq=False)
class Node:
    """An element. Names are without namespaces: the relevant names are unique."""

    name: str
    attributes: Mapping[str, str]
    children: list[Node] = field(default_factory=list)
    text: str = ""

    def find_all(self, name: str) -> Iterator[Node]:
        """The children of that name."""
        return (child for child in self.children if child.name == name)

    def child(self, *path: str) -> Node:
        """The first child of a name, and so on; an empty node when there is none."""
        node = self
        for name in path:
            node = next(node.find_all(name), _EMPTY_NODE)
        return node

    def get(self, attribute: str) -> str:
        return self.attributes.get(attribute, "").strip()

    def value(self, *names: str) -> str:
        """The text of the first child of one of these names that has any."""
        texts = (child.text.strip() for name in names for child in self.find_all(name))
        return next(filter(None, texts), "")

    def walk(self) -> Iterator[Node]:
        """This node and everything below it."""
        yield self
        for child in self.children:
            yield from child.walk()


_EMPTY_NODE: Final = Node("", {})


def parse(text: bytes, name: str) -> Node:
    """The root of a document; `name` is for errors.

    Raises:
        StepError: CORRUPT if it is not XML, UNSUPPORTED if it exceeds the limits.
    """
    if len(text) > MAX_BYTES:
        raise _refusal(name, f"it has {len(text)} bytes, more than the limit of {MAX_BYTES}")
    builder = _TreeBuilder(name)
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_NEVER)
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = builder.doctype
    try:
        parser.Parse(text, True)
    except (expat.ExpatError, ValueError, LookupError) as error:  # the others: an encoding that is none
        raise StepError(
            Exit.CORRUPT, f"{name} is not XML", str(error), "get a new copy from where it was made"
        ) from None
    return builder.root


class _TreeBuilder:
    def __init__(self, name: str) -> None:
        self.root = _EMPTY_NODE
        self._name = name
        self._open: list[Node] = []
        self._texts: list[list[str]] = []
        """The pieces of the text of each open element: joined once, as a text may have a piece per child."""
        self._count = 0

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self._count += 1
        if self._count > _MAX_NODES or len(self._open) >= _MAX_DEPTH:
            raise _refusal(
                self._name, f"it has more than {_MAX_NODES} elements, or more than {_MAX_DEPTH} nested ones"
            )
        node = Node(_local_name(name), _local_attributes(attributes))
        if node.name in ("Section", "Content"):  # OVF 0.9, and oVirt to this day: the type is the name
            node.name = node.get("type").rpartition(":")[2].removesuffix("_Type")
        if self._open:
            self._open[-1].children.append(node)
        else:
            self.root = node
        self._open.append(node)
        self._texts.append([])

    def end(self, _name: str) -> None:
        self._open.pop().text = "".join(self._texts.pop())

    def data(self, text: str) -> None:
        self._texts[-1].append(text)

    def doctype(self, *_: object) -> None:
        raise _refusal(self._name, "it has a document type, which could refer to other files")


def _local_name(name: str) -> str:
    return name.rpartition(" ")[2]


def _local_attributes(attributes: dict[str, str]) -> dict[str, str]:
    of_ovf = {_local_name(name): value for name, value in attributes.items() if _OVF_NAMESPACE in name}
    return {_local_name(name): value for name, value in attributes.items()} | of_ovf


def _refusal(name: str, why: str) -> StepError:
    return StepError(Exit.UNSUPPORTED, f"{name} is refused", why, "export it without that")
