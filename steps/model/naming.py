"""Names that Kubernetes accepts, made from names that people choose. Pure."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from typing import Final

from steps.model.contract import Exit, StepError
from steps.model.machine import Machine
from steps.model.plan import NamePolicy, Plan, Spelling

_LETTERS: Final = str.maketrans(
    {
        "ä": "ae",
        "ö": "oe",
        "ü": "ue",
        "ß": "ss",
        "æ": "ae",
        "œ": "oe",
        "þ": "th",
        "ŋ": "ng",
        "ø": "o",
        "đ": "d",
        "ð": "d",
        "ł": "l",
        "ı": "i",
        "ħ": "h",
        "ŧ": "t",
    }
)
"""Letters with their own ASCII spelling, or that Unicode does not decompose."""
DNS_LABEL: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
"""RFC 1123 as Kubernetes applies it to names of labels and hosts."""
_PART: Final = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN: Final = re.compile(rf"{_PART}(\.{_PART})*")
"""RFC 1123 as Kubernetes applies it to names of objects: only the whole is limited in length."""
_RESERVED_DOMAINS: Final = ("harvesterhci.io", "kubevirt.io")
_LABEL_VALUE: Final = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")


def is_object_name(text: str) -> bool:
    """Whether an object can have this name: an RFC 1123 subdomain, as all kinds that vmferry uses require."""
    return len(text) <= 253 and _SUBDOMAIN.fullmatch(text) is not None


def is_namespace(text: str) -> bool:
    """Whether a namespace can have this name: an RFC 1123 label."""
    return DNS_LABEL.fullmatch(text) is not None


def is_label_value(text: str) -> bool:
    """Whether a label can have this value (k8s.io/apimachinery, IsValidLabelValue)."""
    return _LABEL_VALUE.fullmatch(text) is not None


def is_metadata_key(text: str) -> bool:
    """Whether a label or an annotation can have this key: an optional domain and slash, and a name."""
    domain, slash, name = text.rpartition("/")
    return bool(name) and is_label_value(name) and (not slash or is_object_name(domain))


def is_reserved_key(text: str) -> bool:
    """Whether the key of a label or an annotation belongs to Harvester, KubeVirt or vmferry.

    Those of their subdomains do, too: `hooks.kubevirt.io/hookSidecars` runs a container.
    """
    domain, slash, _ = text.lower().partition("/")
    is_theirs = bool(slash) and any(f".{domain}".endswith(f".{one}") for one in _RESERVED_DOMAINS)
    return is_theirs or domain.startswith("migration.")


def shown(text: str) -> str:
    """A text from a person for a message: quoted, without control characters, not longer than 80."""
    return repr(text[:80]) + ("..." if len(text) > 80 else "")


def target_name(plan: Plan, machine: Machine) -> str:
    """The name in the cluster, a DNS-1123 label.

    Raises:
        StepError: INVALID under the strict policy, with the text that the QA plan expects.
    """
    wanted = plan.target.vm_name or machine.name
    if DNS_LABEL.fullmatch(wanted):
        return wanted
    if plan.target.name_policy is NamePolicy.STRICT or plan.target.vm_name:
        raise StepError(
            Exit.INVALID,
            f"vm migration target {wanted} in VM {plan.import_.name} in namespace {plan.import_.namespace} "
            "is not RFC 1123 compliant",
            remedy="set spec.targetVirtualMachineName to lower-case letters, digits and '-', at most 63",
        )
    return normalise(wanted, plan.target.spelling)


def normalise(name: str, spelling: Spelling = Spelling.LETTERS) -> str:
    """Any text as a DNS-1123 label; a cut or empty result gets a short hash."""
    digest = hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()[:8]
    lower = name.lower() if spelling is Spelling.DASHES else spelled(name)
    stem = re.sub(r"[^a-z0-9]+", "-", lower).strip("-")
    if not stem:
        return f"vm-{digest}"
    return stem if len(stem) <= 63 else f"{stem[:54].rstrip('-')}-{digest}"


def spelled(name: str) -> str:
    """A name in lower case with letters as people write them in ASCII: `Größe` is `groesse`, `Café` `cafe`.

    Other accents are removed (Unicode NFKD). Text without Latin letters stays as it is.
    """
    whole = unicodedata.normalize("NFC", name).lower().translate(_LETTERS)
    parts = unicodedata.normalize("NFKD", whole)
    return "".join(part for part in parts if not unicodedata.combining(part)).lower()
