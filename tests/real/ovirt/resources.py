"""The engine's tree of resources, read-only: what `GET` of each path shows, with search and `follow`.

`follow` behaves as the engine's LinkFollower: a name is either that of a link, or that of a referenced object
with an `href`. Anything else is an error of the whole request, such as the storage domains inside a disk, or
the profile of a NIC without one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from tests.real.ovirt import documents, search
from tests.real.ovirt.documents import API, Document, reference
from tests.real.ovirt.state import NoSuchError, State, Transfer, Vm, now


class FollowError(Exception):
    """The engine cannot follow a link: status 500 in a real engine."""


@dataclass(frozen=True)
class Entity:
    element: str
    document: Document


@dataclass(frozen=True)
class Collection:
    element: str
    root: str
    items: list[Document]


Found = Entity | Collection
Query = Mapping[str, str]
Value = TypeVar("Value")

_ROOTS: Final = {
    "vms": "vm",
    "disks": "disk",
    "clusters": "cluster",
    "networks": "network",
    "vnicprofiles": "vnic_profile",
    "storagedomains": "storage_domain",
    "templates": "template",
    "datacenters": "data_center",
    "hosts": "host",
    "imagetransfers": "image_transfer",
    "events": "event",
    "jobs": "job",
}
_XML_ROOTS: Final = {
    "vnicprofiles": "vnic_profiles",
    "storagedomains": "storage_domains",
    "datacenters": "data_centers",
    "imagetransfers": "image_transfers",
}
_EMPTY_OF_VM: Final = {
    "applications": ("application", "applications"),
    "cdroms": ("cdrom", "cdroms"),
    "graphicsconsoles": ("graphics_console", "graphics_consoles"),
    "hostdevices": ("host_device", "host_devices"),
    "numanodes": ("host_numa_node", "host_numa_nodes"),
    "permissions": ("permission", "permissions"),
    "reporteddevices": ("reported_device", "reported_devices"),
    "sessions": ("session", "sessions"),
    "statistics": ("statistic", "statistics"),
    "tags": ("tag", "tags"),
    "watchdogs": ("watchdog", "watchdogs"),
}
"""Sub-collections of a VM that are empty unless the VM's `extra` has them under the second name."""


class Resources:
    """The tree over a state; `urls` are those of a transfer: the host's daemon and the proxy."""

    def __init__(self, state: State, urls: Callable[[Transfer], tuple[str, str]]) -> None:
        self.state, self.urls = state, urls

    def get(self, path: tuple[str, ...], query: Query) -> Found:
        """What is at a path below the API, with search, paging and `follow` as the query says.

        Raises:
            NoSuchError: nothing is there.
            SearchError: the search cannot be read.
            FollowError: a link cannot be followed.
        """
        found = self._find(path, query)
        if isinstance(found, Collection):
            items = self._page(self._searched(found, path, query), query)
            found = Collection(found.element, found.root, items)
        self._follow([found.document] if isinstance(found, Entity) else found.items, _tree(query), query)
        return found

    def _find(self, path: tuple[str, ...], query: Query) -> Found:
        match path:
            case ():
                return Entity("api", self._api())
            case (name,) if name in _ROOTS:
                return Collection(_ROOTS[name], _XML_ROOTS.get(name, name), list(self._all(name, query)))
            case (name, known) if name in _ROOTS:
                return Entity(_ROOTS[name], self._one(name, known, query))
            case ("vms", known, *rest):
                return self._of_vm(_at(self.state.vms, known), tuple(rest))
            case (name, known, below):
                return self._below(name, known, below, query)
            case _:
                raise NoSuchError("/".join(path))

    def _below(self, name: str, known: str, below: str, query: Query) -> Found:
        """A sub-collection of something that is no VM."""
        match name, below:
            case "networks", "vnicprofiles":
                _at(self.state.networks, known)
                profiles = [
                    item for item in self._all("vnicprofiles", query) if item["network"]["id"] == known
                ]
                return Collection("vnic_profile", "vnic_profiles", profiles)
            case "templates", "diskattachments":
                _at(self.state.templates, known)
                return Collection("disk_attachment", "disk_attachments", [])
            case "disks", ("permissions" | "statistics" | "disksnapshots"):
                _at(self.state.disks, known)
                return Collection(below[:-1], below, [])
            case _:
                raise NoSuchError(f"{name}/{known}/{below}")

    def _of_vm(self, vm: Vm, rest: tuple[str, ...]) -> Found:
        match rest:
            case ("diskattachments", *one):
                items = [documents.attachment(vm, disk) for disk in vm.disks]
                return _among(Collection("disk_attachment", "disk_attachments", items), one)
            case ("nics", *one):
                items = [documents.nic(vm, number) for number in range(len(vm.nics))]
                return _among(Collection("nic", "nics", items), one)
            case ("snapshots", *one):
                items = documents.snapshots(vm)
                return _among(Collection("snapshot", "snapshots", items), one)
            case (name,) if name in _EMPTY_OF_VM:
                element, root = _EMPTY_OF_VM[name]
                items = vm.described.extra.get(root, {}).get(element, [])
                return Collection(element, root, list(items))
            case _:
                raise NoSuchError("/".join(rest))

    def _one(self, name: str, known: str, query: Query) -> Document:
        if name == "vms":
            machine = _at(self.state.vms, known)
            if "vm" in self.state.lacks:
                raise NoSuchError(known)
            return self._vm(machine, query)
        for item in self._all(name, query):
            if item["id"] == known:
                return item
        raise NoSuchError(known)

    def _all(self, name: str, query: Query) -> Iterable[Document]:
        state = self.state
        centre = state.data_centre
        tables: dict[str, Callable[[], Iterable[Document]]] = {
            "vms": lambda: [] if "vm" in state.lacks else [self._vm(vm, query) for vm in state.vms.values()],
            "disks": lambda: [documents.disk(state, disk) for disk in state.disks.values()],
            "imagetransfers": lambda: [
                documents.transfer(item, state, self.urls(item)) for item in state.transfers.values()
            ],
            "events": lambda: list(reversed(state.events)),
            "jobs": lambda: list(reversed(state.jobs.values())),
            "hosts": lambda: [documents.host(state)],
            "datacenters": lambda: [documents.data_centre(centre)],
            "clusters": lambda: [documents.cluster(*item, centre) for item in state.clusters.items()],
            "networks": lambda: [documents.network(*item, centre) for item in state.networks.items()],
            "vnicprofiles": lambda: [documents.profile(*item) for item in state.profiles.items()],
            "storagedomains": lambda: [documents.domain(*item, centre) for item in state.domains.items()],
            "templates": lambda: [documents.template(*item) for item in state.templates.items()],
        }
        return tables[name]()

    def _vm(self, vm: Vm, query: Query) -> Document:
        return documents.vm(
            self.state, vm, all_content=_is(query, "all_content"), next_run=_is(query, "next_run")
        )

    def _api(self) -> Document:
        full = self.state.described.version
        major, minor, build, *_ = [*full.partition("-")[0].split("."), "0", "0"]
        return {
            "authenticated_user": reference("users", self.state.account),
            "link": documents.links(API, *sorted(_ROOTS)),
            "product_info": {
                "instance_id": self.state.data_centre,
                "name": "oVirt Engine",
                "vendor": "ovirt.org",
                "version": {
                    "full_version": full,
                    "major": int(major),
                    "minor": int(minor),
                    "build": int(build),
                    "revision": 0,
                },
            },
            "special_objects": {"blank_template": reference("templates", next(iter(self.state.templates)))},
            "summary": {"vms": {"total": len(self.state.vms), "active": 0}},
            "time": now(),
        }

    def _searched(self, found: Collection, path: tuple[str, ...], query: Query) -> list[Document]:
        if len(path) != 1 or "search" not in query:
            return found.items
        wanted = search.parse(query["search"])
        # the default is true; only the parameter's own word turns it off
        sensitive = query.get("case_sensitive", "true").lower() != "false"
        items = [item for item in found.items if wanted.matches(self._fields(item), case_sensitive=sensitive)]
        if wanted.sort:
            items.sort(key=lambda item: self._fields(item).get(wanted.sort, ""), reverse=wanted.descending)
        size = _number(query, "max")
        if wanted.page > 1:
            items = items[size * (wanted.page - 1) :] if size else []
        return items

    def _fields(self, item: Document) -> dict[str, str]:
        fields = {key: str(value) for key, value in item.items() if not isinstance(value, dict | list)}
        cluster = item.get("cluster", {}).get("id")
        if cluster in self.state.clusters:
            fields["cluster"] = self.state.clusters[cluster].name
        template = item.get("template", {}).get("id")
        if template in self.state.templates:
            fields["template"] = self.state.templates[template].name
        return fields | {"datacenter": "Default"}

    @staticmethod
    def _page(items: list[Document], query: Query) -> list[Document]:
        size = _number(query, "max")
        return items if size is None else items[:size]

    def _follow(self, items: list[Document], tree: dict[str, Any], query: Query) -> None:
        below = {key: value for key, value in query.items() if key not in {"follow", "max", "search"}}
        for name, branch in tree.items():
            fetched: list[Document] = []
            for item in items:
                fetched += self._followed(item, name, below)
            self._follow(fetched, branch, below)

    def _followed(self, item: Document, name: str, query: Query) -> list[Document]:
        wanted = name.replace("_", "").lower()
        targets = [link["href"] for link in item.get("link", []) if link["rel"] == wanted]
        if not targets:
            member = item.get(name)
            if not isinstance(member, dict) or "href" not in member:
                raise FollowError(f"Problem fetching '{name}'")
            targets = [member["href"]]
        try:
            found = self._find(tuple(targets[0].removeprefix(API).strip("/").split("/")), query)
        except NoSuchError as error:
            raise FollowError(f"Problem following link: {targets[0]}") from error
        if isinstance(found, Entity):
            item[name] = found.document
            return [found.document]
        item[name] = {found.element: found.items}
        return found.items


def _among(found: Collection, one: list[str]) -> Found:
    if not one:
        return found
    for item in found.items:
        if [item["id"]] == one:
            return Entity(found.element, item)
    raise NoSuchError("/".join(one))


def _at(table: Mapping[str, Value], known: str) -> Value:
    try:
        return table[known]
    except KeyError as error:
        raise NoSuchError(known) from error


def _is(query: Query, name: str) -> bool:
    return query.get(name, "false").lower() in {"true", ""}


def _number(query: Query, name: str) -> int | None:
    text = query.get(name, "")
    return int(text) if text.lstrip("-").isdigit() and int(text) >= 0 else None


def _tree(query: Query) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for path in filter(None, query.get("follow", "").split(",")):
        branch = tree
        for name in path.strip().split("."):
            branch = branch.setdefault(name, {})
    return tree
