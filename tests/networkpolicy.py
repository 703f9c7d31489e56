"""What NetworkPolicies allow a pod to connect to, by the reference of networking.k8s.io/v1."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

Object = Mapping[str, Any]
NAME_LABEL: Final = "kubernetes.io/metadata.name"
"""The label that the API server gives each namespace."""


@dataclass(frozen=True)
class Peer:
    """The other end of a connection: an address and, if it is a pod, its namespace and labels."""

    address: str
    namespace: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)


def may_connect(
    policies: Iterable[Object], labels: Mapping[str, str], peer: Peer, port: int, protocol: str = "TCP"
) -> bool:
    """Whether a pod with `labels`, in the namespace of the policies, may open a connection to `peer`."""
    selecting = [
        policy
        for policy in policies
        if "Egress" in policy["spec"]["policyTypes"] and _selects(policy["spec"]["podSelector"], labels)
    ]
    return not selecting or any(
        _rule_allows(rule, policy["metadata"]["namespace"], peer, port, protocol)
        for policy in selecting
        for rule in policy["spec"].get("egress") or []
    )


def _rule_allows(rule: Object, namespace: str, peer: Peer, port: int, protocol: str) -> bool:
    peers, ports = rule.get("to") or [], rule.get("ports") or []
    return (not peers or any(_is_peer(one, namespace, peer) for one in peers)) and (
        not ports or any(_is_port(one, port, protocol) for one in ports)
    )


def _is_port(given: Object, port: int, protocol: str) -> bool:
    first = int(given.get("port", port))
    return given.get("protocol", "TCP") == protocol and first <= port <= int(given.get("endPort", first))


def _is_peer(given: Object, namespace: str, peer: Peer) -> bool:
    if "ipBlock" in given:
        address, block = ipaddress.ip_address(peer.address), given["ipBlock"]
        excluded = any(address in ipaddress.ip_network(one) for one in block.get("except") or [])
        return address in ipaddress.ip_network(block["cidr"]) and not excluded
    if not peer.namespace:
        return False
    spaces = given.get("namespaceSelector")
    in_namespace = (
        peer.namespace == namespace if spaces is None else _selects(spaces, {NAME_LABEL: peer.namespace})
    )
    return in_namespace and _selects(given.get("podSelector") or {}, peer.labels)


def _selects(selector: Object, labels: Mapping[str, str]) -> bool:
    """An empty selector selects everything."""
    wanted = (selector.get("matchLabels") or {}).items()
    return all(labels.get(key) == value for key, value in wanted) and all(
        _fits(row, labels) for row in selector.get("matchExpressions") or []
    )


def _fits(row: Object, labels: Mapping[str, str]) -> bool:
    value = labels.get(row["key"])
    verdicts = {
        "In": value in row.get("values", ()),
        "NotIn": value not in row.get("values", ()),
        "Exists": value is not None,
        "DoesNotExist": value is None,
    }
    return verdicts[row["operator"]]
