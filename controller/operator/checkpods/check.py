"""What a check pod does, and how it ended: plain values. Pure."""

from __future__ import annotations

import enum
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from steps.model import kubeconfig
from steps.model.kinds import IMPORT, MIGRATION_PLAN, SECRET_SOURCES, SOURCES, Kind
from steps.model.plan import PodPlan
from steps.model.sources import SourceKind
from workflows.accounts import account_text, place

VERIFY: Final = "steps.verify"
DRY_RUN: Final = "steps.dryrun"
SELECT: Final = "steps.select"
IDENTITY_KEYS: Final = (
    *("username", "user_id", "application_credential_id", "application_credential_name"),
    kubeconfig.KEY,
)
"""Keys of a Secret that name an account. Of a kubeconfig only the account is used, which is not secret.

Fewer than `ACCOUNT_KEYS` of the sources, which the limits use: a domain can be given in several ways or left
out, and checks that wait for each other without need are better than two log-ins at once.
"""
OWNERS: Final[Mapping[str, Kind]] = {
    kind.kind: kind for kind in (IMPORT, MIGRATION_PLAN, *SOURCES.values(), *SECRET_SOURCES.values())
}


class Owner(NamedTuple):
    """The source, import or plan that is checked. It has at most one check at a time."""

    kind: Kind
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind.kind}/{self.namespace}/{self.name}"

    @classmethod
    def parse(cls, text: str) -> Owner | None:
        """The owner of `str(owner)`; None for any other text."""
        kind, _, rest = text.partition("/")
        namespace, _, name = rest.partition("/")
        return cls(OWNERS[kind], namespace, name) if kind in OWNERS and namespace and name else None


@dataclass(frozen=True)
class Check:
    """A program to run over a request and credentials."""

    owner: Owner
    uid: str
    """Of the owner: an owner that was created again has nothing of the earlier one."""
    version: str
    """What is checked: the caller finds out from it whether a result is about the current state."""
    source: SourceKind
    program: str
    request: str = field(repr=False)
    """plan.json."""
    credentials: Mapping[str, str] = field(repr=False)
    """Base64, only the keys that the provider reads."""
    seconds: float
    """How long the source may take to answer."""
    arguments: tuple[str, ...] = ()
    pods: PodPlan = field(default_factory=PodPlan)
    """Placement and second network of its pod."""
    account: str = ""
    """Two checks with the same account never run at the same time, so that the refusals of a wrong password
    are counted before the next attempt. Empty: no such limit."""
    has_failed: bool = False
    """Whether the last check failed; such a check waits behind the others."""


class Problem(enum.Enum):
    """Why a program did not end by itself."""

    NOT_STARTED = "NotStarted"
    """Nothing was sent to the source."""
    INTERRUPTED = "Interrupted"
    """Something else than the source ended the pod."""
    TIMEOUT = "Timeout"
    OUT_OF_MEMORY = "OutOfMemory"


@dataclass(frozen=True)
class Ended:
    """A check that has ended."""

    pod: str
    """uid of the pod; empty if none was created."""
    version: str
    """`Check.version` of the pod."""
    code: int = -1
    """Exit code of the program; -1 with a problem."""
    message: str = ""
    problem: Problem | None = None
    seconds: float = 0.0
    """How long the program ran; 0 if that is not known."""


def account_of(address: str, credentials: Mapping[str, str]) -> str:
    """A digest of an endpoint and the name of an account there; empty without credentials.

    All spellings of an endpoint, and of a name, are one. The digest contains no secret, so it may stand on a
    pod.
    """
    if not credentials:
        return ""
    identity = {key: account_text(key, credentials[key]) for key in IDENTITY_KEYS if key in credentials}
    text = json.dumps([place(address), identity], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
