"""Names of files in archives, manifests and descriptors."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable
from urllib.parse import unquote

from steps.model.contract import Exit, StepError

_LONGEST = 4096
"""Bytes, as Linux has it (PATH_MAX)."""
_MOST_SHOWN = 5
"""Names in a message."""


def checked_name(name: str, where: str) -> str:
    """The name without `./`. Nothing is ever written to it, but a name outside its folder is refused.

    Raises:
        StepError: UNSUPPORTED.
    """
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts or "\\" in name:
        raise _refusal(name, where, "it points outside the archive")
    if not parts or len(name) > _LONGEST or not name.isprintable():
        raise _refusal(name, where, "it is not a valid file name")
    return "/".join(parts)


def has_suffix(name: str, suffix: str) -> bool:
    """Whether a name has this ending, in any case; not `._NAME`, which is macOS metadata of the file NAME."""
    return name.lower().endswith(suffix) and not name.rpartition("/")[2].startswith("._")


class NameIndex:
    """The names of files of a package, to find many among them: a disk may be in thousands of files."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = dict.fromkeys(names)
        self._spellings = [(spell, _grouped(self._names, spell)) for spell in (unquote, match_key)]

    def find(self, name: str, where: str) -> str | None:
        """As the function `find`, among these names."""
        if name in self._names:
            return name
        for normalize, groups in self._spellings:
            matches = groups.get(normalize(name), ())
            if len(matches) > 1:
                shown = " or ".join(repr(match) for match in matches[:_MOST_SHOWN])
                raise StepError(
                    Exit.AMBIGUOUS,
                    f"{name!r} may be {shown} of {where}",
                    "they differ only in their spelling",
                    "pack it again with different names",
                )
            if matches:
                return matches[0]
        return None


def _grouped(names: Iterable[str], normalize: Callable[[str], str]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(normalize(name), []).append(name)
    return groups


def find(name: str, candidates: Iterable[str], where: str) -> str | None:
    """The spelling of the file `name` among `candidates`; None if it is missing.

    All look-ups of a file name across documents of a package are here. Writers disagree:
    some write names as parts of URLs (`my%20disk.vmdk`), macOS decomposes accented letters, case does not
    matter on Windows. The exact name counts first, then the one without %20, then any case.

    Raises:
        StepError: AMBIGUOUS, if several match equally well.
    """
    return NameIndex(candidates).find(name, where)


def match_key(name: str) -> str:
    """The same for all spellings of a name."""
    return unicodedata.normalize("NFC", unquote(name)).casefold()


def _refusal(name: str, where: str, why: str) -> StepError:
    short_name = name if len(name) <= 200 else f"{name[:200]}..."
    return StepError(Exit.UNSUPPORTED, f"{where} names {short_name!r}", why, "pack it again with plain names")
