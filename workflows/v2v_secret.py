"""The credentials of a `v2v.kubevirt.io` import: one key of a Secret holds a YAML text. Pure.

The text maps names to texts. Each scalar stays as it is written (`123456`, `0123`, `yes`), and null is empty,
as in vm-import-operator. The messages are its own: clients compare them.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode

from steps.model.sources import SourceKind

KEYS: Final[Mapping[SourceKind, str]] = {SourceKind.VMWARE: "vmware", SourceKind.OVIRT: "ovirt"}
"""The key of the Secret, by kind of source."""
TITLES: Final = {SourceKind.VMWARE: "vmware", SourceKind.OVIRT: "oVirt"}
"""What its messages call a provider."""
ADDRESS: Final = "apiUrl"
LOGIN: Final = ("username", "password")
OPTIONAL: Final = ("caCert", "ca.cert", "thumbprint")
_DISTRUSTED: Final = ("thumbprint",)
"""Only vSphere has it."""
LONGEST: Final = 64 << 10
"""Characters of the text. It is read in the controller, so it must not cost much time."""
MOST_BRACKETS: Final = 64
"""Opening brackets in the text: the time of the parser grows with the square of their nesting."""
_NULL: Final = re.compile(r"~|null|Null|NULL|")


class SecretError(Exception):
    """Why the credentials cannot be used, in one sentence."""


@dataclass(frozen=True)
class Login:
    """An address and the login for it."""

    address: str
    credentials: Mapping[str, str] = field(repr=False)
    """By the names of the source's own Secret; base64, as in a Secret."""


def read(kind: SourceKind, data: Mapping[str, str]) -> Login:
    """The login in the data of a Secret (base64).

    Raises:
        SecretError: the first thing that is wrong.
    """
    given = parse(_text(data.get(KEYS[kind], "")))
    if ADDRESS in given:
        given[ADDRESS] = given[ADDRESS].strip()
    for name in (ADDRESS, *LOGIN):
        if name not in given:
            raise SecretError(f"{TITLES[kind]} secret must contain {name} attribute")
        if not given[name]:
            raise SecretError(f"{TITLES[kind]} secret {name} cannot be empty")
    kept = [name for name in (*LOGIN, *OPTIONAL) if given.get(name)]
    if kind is SourceKind.OVIRT:
        kept = [name for name in kept if name not in _DISTRUSTED]
    if kind is SourceKind.VMWARE and "ca.cert" in kept:
        given.setdefault("caCert", given["ca.cert"])
        kept = [*dict.fromkeys("caCert" if name == "ca.cert" else name for name in kept)]
    try:
        given[ADDRESS].encode()
        encoded = {name: base64.b64encode(given[name].encode()).decode() for name in kept}
    except UnicodeEncodeError:
        raise SecretError(f"{TITLES[kind]} secret has an attribute with half a character") from None
    return Login(given[ADDRESS], encoded)


def _text(value: str) -> str:
    try:
        return base64.b64decode(value).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise SecretError("the secret is not a text") from None


def parse(text: str) -> dict[str, str]:
    """A YAML mapping of names to texts. No value appears in an error.

    Raises:
        SecretError: for anything else.
    """
    if len(text) > LONGEST:
        raise SecretError(f"the secret has {len(text)} characters; at most {LONGEST} are read")
    if text.count("[") + text.count("{") > MOST_BRACKETS:
        raise SecretError("the secret is nested: write NAME: VALUE, one in a line")
    yaml = YAML(typ="safe", pure=True)
    yaml.Composer = _QuietComposer
    try:
        root: Any = yaml.compose(text)
    except Exception:  # also others than YAMLError, such as OverflowError for a large character
        raise SecretError("the secret is not YAML: write NAME: VALUE, one in a line") from None
    if root is None:
        return {}
    if not isinstance(root, MappingNode):
        raise SecretError("the secret is not a YAML mapping: write NAME: VALUE, one in a line")
    found: dict[str, str] = {}
    for key, value in root.value:
        name = _scalar(key)
        if name in found:
            raise SecretError("the secret has one attribute twice")
        found[name] = _scalar(value)
    return found


class _QuietComposer(Composer):
    """Warns about nothing: a warning quotes lines of the text."""

    def __init__(self, loader: Any = None) -> None:
        super().__init__(loader=loader)
        self.warn_double_anchors = False


def _scalar(node: Node) -> str:
    if not isinstance(node, ScalarNode):
        raise SecretError("the secret has an attribute that is not a text")
    is_null = node.style is None and _NULL.fullmatch(node.value)
    return "" if is_null else str(node.value)
