"""The limit on the scratch of all imports of a namespace, which its own quotas do not count."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from steps.model import names
from steps.model.contract import Exit, StepError
from steps.model.kinds import CLAIM, CONFIG_MAP, Object
from steps.model.limits import remedy
from steps.model.plan import Plan
from steps.model.quantity import shown, to_bytes
from steps.runtime.cluster import Cluster

VALUE: Final = "limits.maxScratchPerNamespace"
"""The name of the limit among the chart's values."""


def used_by_others(cluster: Cluster, release: str, namespace: str, uid: str) -> int:
    """Bytes of the scratch claims of the imports of `namespace`, except the one with that uid.

    Raises:
        StepError: where the API does not answer.
    """
    claims = cluster.find(CLAIM, release, {names.LABEL_NAMESPACE: namespace})
    own = names.label_value(uid)
    others = (claim for claim in claims if claim["metadata"]["labels"].get(names.LABEL_UID) != own)
    return sum(requested_bytes(claim) for claim in others if _is_scratch(claim))


def requested_bytes(claim: Object) -> int:
    return to_bytes(str(claim["spec"]["resources"]["requests"]["storage"]))


def _is_scratch(claim: Object) -> bool:
    """Whether a request owns the claim. With one namespace for all, the volumes of VMs are there, too."""
    owners = claim["metadata"].get("ownerReferences") or []
    return any(owner.get("kind") == CONFIG_MAP.kind for owner in owners)


class ScratchLimit:
    """The limit for a run that is about to create its claims."""

    def __init__(self, plan: Plan, cluster: Cluster, release: str) -> None:
        self._plan = plan
        self._cluster = cluster
        self._release = release
        self._most = plan.limits.max_scratch_per_namespace

    def check(self, claims: Sequence[Object]) -> list[Object]:
        """The claims that do not exist yet and for which the namespace has room; none without a limit.

        Claims of an earlier attempt may hold a disk of a VM that is off: they are never refused.

        Raises:
            StepError: NO_SPACE, before anything is created.
        """
        if self._most is None:
            return []
        new = [claim for claim in claims if not self._exists(claim)]
        wanted, used = sum(map(requested_bytes, claims)), self._used()
        if not new or used + wanted <= self._most:
            return new
        namespace = self._plan.import_.namespace
        raise StepError(
            Exit.NO_SPACE,
            f"the disks of this VM need {shown(wanted)} of scratch, which namespace {namespace} may not use",
            f"its other imports use {shown(used)}, and the limit is {shown(self._most)}",
            f"{'retry when they are done, delete those that failed, or ' if used else ''}{remedy(VALUE)}",
        )

    def check_created(self, new: Sequence[Object], claims: Sequence[Object]) -> None:
        """Check again after the claims `new` were created: another import may have passed at the same moment.

        Raises:
            StepError: BUSY; these claims are deleted, and the next attempt finds room or the reason why not.
        """
        if self._most is None or not new:
            return
        if self._used() + sum(map(requested_bytes, claims)) <= self._most:
            return
        for claim in new:
            self._cluster.delete(CLAIM, claim["metadata"]["name"], self._release)
        what = f"another import of {self._plan.import_.namespace} took the scratch at the same moment"
        raise StepError(Exit.BUSY, what, remedy="vmferry tries again")

    def _exists(self, claim: Object) -> bool:
        return self._cluster.get(CLAIM, claim["metadata"]["name"], self._release) is not None

    def _used(self) -> int:
        of = self._plan.import_
        return used_by_others(self._cluster, self._release, of.namespace, of.uid)
