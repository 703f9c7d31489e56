"""Lists of hosts that a person writes: which entries are valid, and which hosts an entry names. Pure."""

from __future__ import annotations

import re
from typing import Final

PATTERN_HELP: Final = "write HOST, *.DOMAIN for all hosts of a domain, or * for all hosts"
_LONGEST: Final = 255
_LABEL: Final = r"[a-z0-9_]([-a-z0-9_]*[a-z0-9_])?"
_PATTERN: Final = re.compile(rf"\*|(\*\.)?{_LABEL}(\.{_LABEL})*|[0-9a-f:.]*:[0-9a-f:.]*")


def is_pattern(text: str) -> bool:
    """Whether a text is an entry: HOST, an address, *.DOMAIN or *."""
    return len(text) <= _LONGEST and _PATTERN.fullmatch(canonical(text)) is not None


def matches(pattern: str, host: str) -> bool:
    """Whether an entry names a host. `*.example.com` does not name `example.com` itself."""
    pattern, host = canonical(pattern), canonical(host)
    return pattern in ("*", host) or (pattern.startswith("*.") and host.endswith(pattern[1:]))


def canonical(host: str) -> str:
    """A host in the form in which hosts are compared.

    In lower case and ASCII (IDNA), without the brackets of an IPv6 address and without the last dot.
    """
    plain = host.removeprefix("[").removesuffix("]").lower()
    plain = plain if plain == "*." else plain.removesuffix(".")
    if plain.isascii():
        return plain
    try:
        return plain.encode("idna").decode()
    except UnicodeError:
        return plain
