"""Documents as readable YAML that every parser understands alike."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from ruamel.yaml import YAML
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

# What YAML 1.1, which kubectl still reads, parses as a boolean, a null or a number, and 1.2 as a text
# (yaml.org/type/bool.html, int.html, float.html). `name: on` would name a VM "true".
_WORDS: Final = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null", "~", ""})
_NUMBERS: Final = re.compile(r"[-+.]?[0-9][0-9A-Fa-f_.:xobe+-]*|[-+]?\.(inf|nan)", re.IGNORECASE)


def to_yaml(value: Any) -> str:
    """Block style, keys in the order given, lines never folded."""
    text = io.StringIO()
    yaml = YAML()
    yaml.default_flow_style = False
    yaml.width = 1 << 20
    yaml.dump(_quoted(value), text)
    return text.getvalue()


def _quoted(value: Any) -> Any:
    """The value with quotes around every text that a parser could misread."""
    if isinstance(value, Mapping):
        return {_quoted(key): _quoted(item) for key, item in value.items()}
    if isinstance(value, str):
        return DoubleQuotedScalarString(value) if _ambiguous(value) else str(value)
    if isinstance(value, Sequence):
        return [_quoted(item) for item in value]
    return value


def _ambiguous(text: str) -> bool:
    return text.lower() in _WORDS or _NUMBERS.fullmatch(text) is not None
