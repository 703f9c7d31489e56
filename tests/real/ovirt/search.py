"""The engine's search language, as far as clients of VMs need it.

`name=a and cluster="b c" or status=up sortby name desc page 2`. Values take `*`. By default the case of a
value matters; `case_sensitive=false` in the query changes that. The words of the language have no case.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

_TOKEN: Final = re.compile(r'\s*("[^"]*"|!=|=|<>|[^\s"=!<>]+)')
_FIELDS: Final = (
    "id",
    "name",
    "cluster",
    "status",
    "description",
    "datacenter",
    "comment",
    "alias",
    "template",
)


class SearchError(ValueError):
    """The text is not of the language."""


@dataclass(frozen=True)
class Search:
    """A parsed search; `alternatives` are joined by `or`, the conditions in each by `and`."""

    alternatives: tuple[tuple[_Condition, ...], ...]
    sort: str
    descending: bool
    page: int

    def matches(self, fields: Mapping[str, str], *, case_sensitive: bool) -> bool:
        if not self.alternatives:
            return True
        return any(
            all(condition.holds(fields, case_sensitive=case_sensitive) for condition in conditions)
            for conditions in self.alternatives
        )


@dataclass(frozen=True)
class _Condition:
    field: str
    """Empty for a free text, which any field may contain."""
    value: str
    negated: bool = False

    def holds(self, fields: Mapping[str, str], *, case_sensitive: bool) -> bool:
        like = _like(self.value if self.field else f"*{self.value}*", case_sensitive=case_sensitive)
        seen = [fields.get(self.field, "")] if self.field else list(fields.values())
        return any(map(like, seen)) is not self.negated


def _like(pattern: str, *, case_sensitive: bool) -> Callable[[str], object]:
    parts = (re.escape(part) for part in pattern.split("*"))
    return re.compile(".*".join(parts), re.DOTALL if case_sensitive else re.DOTALL | re.IGNORECASE).fullmatch


def parse(text: str) -> Search:
    """Parse a search.

    Raises:
        SearchError: with what is wrong.
    """
    tokens = _tokens(text)
    page, sort, descending = 1, "", False
    alternatives: list[tuple[_Condition, ...]] = []
    conditions: list[_Condition] = []
    while tokens:
        word = tokens[0].lower()
        if word == "page":
            page = _number(tokens[1:2])
            if tokens[2:]:
                raise SearchError("nothing may follow the number of the page")
            break
        if word == "sortby":
            sort = _word(tokens[1:2], "sortby")
            del tokens[:2]
            if tokens and tokens[0].lower() in {"asc", "desc"}:
                descending = tokens.pop(0).lower() == "desc"
            continue
        if word in {"and", "or"}:
            if not conditions:
                raise SearchError(f"{word} follows no condition")
            if word == "or":
                alternatives.append(tuple(conditions))
                conditions = []
            del tokens[0]
        conditions.append(_condition(tokens))
    if conditions:
        alternatives.append(tuple(conditions))
    return Search(tuple(alternatives), sort.lower(), descending, page)


def _tokens(text: str) -> list[str]:
    found, at = [], 0
    text = text.strip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise SearchError(f"cannot read {text[at:]!r}")
        found.append(match[1])
        at = match.end()
    return found


def _condition(tokens: list[str]) -> _Condition:
    first = _word(tokens[:1], "a condition")
    if len(tokens) > 1 and tokens[1] in {"=", "!="}:
        if first.lower() not in _FIELDS:
            raise SearchError(f"{first} is no field")
        condition = _Condition(first.lower(), _word(tokens[2:3], tokens[1]), negated=tokens[1] == "!=")
        del tokens[:3]
        return condition
    del tokens[0]
    return _Condition("", first)


def _word(tokens: list[str], after: str) -> str:
    if not tokens or tokens[0] in {"=", "!=", "<>"}:
        raise SearchError(f"a value is missing after {after}")
    return tokens[0].strip('"')


def _number(tokens: list[str]) -> int:
    if not tokens or not tokens[0].isdigit() or int(tokens[0]) < 1:
        raise SearchError("the number of the page is missing")
    return int(tokens[0])
