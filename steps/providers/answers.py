"""A JSON answer of a source, read with care: it may be of any shape. Pure.

Each source has a subclass with the words for its errors. A scalar may also be a string ("true",
"1073741824"), as in the JSON of oVirt's engine.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Self

from steps.model.contract import Exit, StepError

LONGEST_TEXT: Final = 1 << 16
"""Characters of a text that is kept whole: descriptions may be long, and nobody reads more."""
_MOST_DIGITS: Final = 19
_KINDS: Final = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}
_FLAGS: Final = {"true": True, "false": False, True: True, False: False}


@dataclass(frozen=True)
class Answer:
    """A part of an answer; `path` is its place, for errors. A missing part is empty.

    Every method raises StepError (UNREACHABLE) for a part of another type than the expected one.
    """

    WHAT: ClassVar[str]
    """What failed if an answer cannot be used."""
    REMEDY: ClassVar[str]

    value: Any
    path: str = ""

    @classmethod
    def unusable(cls, why: str) -> StepError:
        """The error for an answer that is not one of this source."""
        return StepError(Exit.UNREACHABLE, cls.WHAT, why, cls.REMEDY)

    @classmethod
    def parse(cls, body: bytes) -> Self:
        """The answer in these bytes; an empty body is an empty answer. Raises StepError: UNREACHABLE."""
        if not body.strip():
            return cls({})
        try:
            return cls(json.loads(body))
        except (ValueError, RecursionError) as error:
            raise cls.unusable(f"it is not JSON ({type(error).__name__})") from None

    def __bool__(self) -> bool:
        return bool(self.value)

    def child(self, *keys: str) -> Self:
        """The part below these keys."""
        part = self
        for key in keys:
            part = type(self)(part._fields().get(key), f"{part.path}.{key}" if part.path else key)
        return part

    def items(self, collection: str, item: str) -> tuple[Self, ...]:
        """The elements of a collection such as {"nics": {"nic": […]}}."""
        return self.child(collection).elements(item)

    def elements(self, item: str) -> tuple[Self, ...]:
        """The elements of this collection."""
        found = self.child(item)
        value = found.value
        if value is None:
            return ()
        if isinstance(value, dict):  # a single element without its list
            value = [value]
        if not isinstance(value, list):
            raise found._wrong("a list")
        elements = tuple(
            type(self)(element, f"{found.path}[{number}]") for number, element in enumerate(value)
        )
        for element in elements:
            element._fields()
        return elements

    def texts(self, *keys: str) -> tuple[str, ...]:
        """The list of texts below these keys."""
        found = self.child(*keys)
        if found.value is None:
            return ()
        if not isinstance(found.value, list):
            raise found._wrong("a list")
        return tuple(type(self)(value, found.path).text() for value in found.value)

    def keys(self) -> tuple[str, ...]:
        """The keys of this object."""
        return tuple(self._fields())

    def text(self, *keys: str) -> str:
        """The text below these keys; "" if it is missing."""
        found = self.child(*keys)
        value = found.value
        if value is None:
            return ""
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise found._wrong("a text")
        return str(value)[:LONGEST_TEXT].encode(errors="replace").decode()

    def number(self, *keys: str) -> int | None:
        """The whole number, 0 or more, below these keys; None if it is missing."""
        found = self.child(*keys)
        value = found.value
        if value is None or value == "":
            return None
        if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) <= _MOST_DIGITS:
            return int(value)
        if type(value) is int and 0 <= value < 10**_MOST_DIGITS:
            return value
        raise found._wrong("a whole number")

    def flag(self, *keys: str, default: bool = False) -> bool:
        """The truth value below these keys."""
        found = self.child(*keys)
        value = found.value
        if value is None:
            return default
        if not isinstance(value, str | bool) or value not in _FLAGS:
            raise found._wrong("true or false")
        return _FLAGS[value]

    def required(self, *keys: str) -> str:
        """The text below these keys, which must be there."""
        text = self.text(*keys)
        if not text:
            raise self.unusable(f"{self.child(*keys).path} is missing")
        return text

    def _fields(self) -> dict[str, Any]:
        if self.value is None:
            return {}
        if not isinstance(self.value, dict):
            raise self._wrong("an object")
        return self.value

    def _wrong(self, expected: str) -> StepError:
        actual = _KINDS.get(type(self.value), "a number")
        why = f"it is {actual}" if actual != expected else "its value is another one"
        return self.unusable(f"{self.path or 'the answer'} is not {expected}: {why}")
