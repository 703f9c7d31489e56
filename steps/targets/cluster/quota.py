"""Whether the objects of an import fit into the ResourceQuotas of a namespace. Pure.

Kubernetes counts a quota for each request, so a dry run of one claim does not see the next one. Rancher's
quota of a namespace is a ResourceQuota as well, and it counts CPU and memory only when the VM starts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from kubernetes.utils.quantity import parse_quantity

from steps.model.kinds import Kind, Object

Needs = dict[str, Decimal]
"""Amounts by the name of the resource in a ResourceQuota (k8s.io/api core/v1 ResourceName)."""

_STORAGE: Final = "requests.storage"
_COMPUTE: Final = ("cpu", "memory")


def add_needs(*parts: Mapping[str, Decimal]) -> Needs:
    """The sum of several needs."""
    totals: defaultdict[str, Decimal] = defaultdict(Decimal)
    for part in parts:
        for name, amount in part.items():
            totals[name] += amount
    return dict(totals)


def claim_needs(claims: Sequence[tuple[str, Object]], kind: Kind) -> Needs:
    """What claims add: pairs of class and claim. `kind` is that of the claims."""
    return add_needs(count_needs(kind, len(claims)), *(_single_claim_needs(*claim, kind) for claim in claims))


def _single_claim_needs(storage_class: str, claim: Object, kind: Kind) -> Needs:
    size = amount(claim["spec"]["resources"]["requests"]["storage"])
    prefix = f"{storage_class}.storageclass.storage.k8s.io"
    return {_STORAGE: size, f"{prefix}/{_STORAGE}": size, f"{prefix}/{kind.plural}": Decimal(1)}


def count_needs(kind: Kind, number: int) -> Needs:
    """What `number` objects of a kind add."""
    core = {} if kind.group else {kind.plural: Decimal(number)}
    return {f"count/{kind.resource}": Decimal(number), **core}


def pod_needs(resources: Object) -> Needs:
    """What the pod of a running VM adds at least: KubeVirt adds the memory of its launcher."""
    needs = {"pods": Decimal(1), "count/pods": Decimal(1)}
    for name in _COMPUTE:
        limit, request = resources.get("limits", {}).get(name), resources.get("requests", {}).get(name)
        if limit is not None:
            needs[f"limits.{name}"] = amount(limit)
        if request is not None:
            needs[f"requests.{name}"] = needs[name] = amount(request)
    return needs


def shortages(quotas: Iterable[Object], needs: Needs) -> Iterator[str]:
    """A sentence for each amount that does not fit."""
    for quota in quotas:
        if _is_scoped(quota):
            continue
        hard, used = _hard_limits(quota), (quota.get("status") or {}).get("used") or {}
        for name, need in needs.items():
            if not need or name not in hard:
                continue
            remaining = amount(hard[name]) - amount(used.get(name, 0))
            if need > remaining:
                yield (
                    f"{name} of ResourceQuota {quota['metadata']['name']}: the import needs "
                    f"{_format_amount(need)}, but {_format_amount(max(remaining, Decimal(0)))} of "
                    f"{hard[name]} are left"
                )


def unknown_limits(quotas: Iterable[Object], needs: Needs) -> Iterator[str]:
    """A sentence for each limit that these sums cannot judge."""
    for quota in quotas:
        name, hard = quota["metadata"]["name"], _hard_limits(quota)
        if _is_scoped(quota):
            yield f"ResourceQuota {name} has scopes; it is not known whether the import fits"
        elif needs.get("limits.memory") and "limits.memory" in hard:
            yield f"limits.memory of ResourceQuota {name} counts the VM's overhead, which is not known yet"


def _hard_limits(quota: Object) -> dict[str, Any]:
    return quota.get("spec", {}).get("hard") or {}


def _is_scoped(quota: Object) -> bool:
    spec = quota.get("spec", {})
    return bool(spec.get("scopes") or spec.get("scopeSelector"))


def amount(quantity: object) -> Decimal:
    """A quantity as Kubernetes writes it, such as `512Mi` or `500m`, as a number. Raises ValueError."""
    return Decimal(parse_quantity(str(quantity)))  # type: ignore[no-untyped-call]


def _format_amount(amount: Decimal) -> str:
    """An amount for a person: binary units where they are whole, else the number."""
    for power, unit in ((4, "Ti"), (3, "Gi"), (2, "Mi")):
        if amount >= 1024**power and amount % 1024 ** (power - 1) == 0:
            return f"{float(amount) / 1024**power:.4g}{unit}"
    return f"{amount.normalize():f}"
