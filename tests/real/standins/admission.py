"""Stand-in for Harvester's webhook: its rules on VirtualMachineImages, and its mark on golden claims.

harvester v1.6.0: pkg/image/common/{mutator,validator}.go, pkg/image/{backingimage,cdi}/{mutate,validate}.go,
pkg/webhook/resources/persistentvolumeclaim/mutator.go. Left out: security parameters, export from volumes,
templates and backups that use an image.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from steps.model.kinds import CLAIM, IMAGE, MACHINE, STORAGE_CLASS, Object
from tests.real.standins.api import Api
from tests.real.standins.images import DISPLAY_NAME
from tests.real.standins.machine_rules import GOLDEN, ClaimRules, MachineRules
from tests.real.standins.refusal import Refused, internal

CLASS: Final = "harvesterhci.io/storageClassName"
DEFAULT: Final = "storageclass.kubernetes.io/is-default-class"
PARAMETERS: Final = {"numberOfReplicas": "3", "staleReplicaTimeout": "30", "migratable": "true"}
"""GetImageDefaultStorageClassParameters."""
CSI_SECRETS: Final = (
    f"csi.storage.k8s.io/{stage}-secret-{part}"
    for stage in ("provisioner", "node-stage", "node-publish")
    for part in ("name", "namespace")
)
TAKEN: Final = frozenset(
    ("nodeSelector", "diskSelector", "numberOfReplicas", "staleReplicaTimeout", "dataLocality", "encrypted")
) | frozenset(CSI_SECRETS)
"""The parameters of a class that its images get (mergeStorageClassParams)."""


class Rules:
    """The changes and the refusals."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._machines = MachineRules(api)
        self._claims = ClaimRules(api)

    def mutate(self, request: Object) -> list[Object]:
        """The JSON patch of a request."""
        thing = request["object"]
        if request["kind"]["kind"] == CLAIM.kind:
            return self._golden(request["namespace"], thing)
        if request["kind"]["kind"] == MACHINE.kind:
            return self._machines.mutate(thing, request.get("oldObject") or {})
        created = request["operation"] == "CREATE" and thing["spec"].get("backend") != "cdi"
        return [*(self._parameters(thing) if created else []), *self._ensure_class(thing)]

    def validate(self, request: Object) -> None:
        """Raises Refused."""
        old, new = request.get("oldObject") or {}, request.get("object") or {}
        if request["kind"]["kind"] == CLAIM.kind:
            return self._claims.validate(request["operation"], new or old, request["userInfo"]["username"])
        if request["kind"]["kind"] == MACHINE.kind:
            return self._machines.validate(new, old)
        return self._validate_image(request["operation"], old, new)

    def _validate_image(self, operation: str, old: Object, new: Object) -> None:
        match operation:
            case "CREATE":
                self._display_name(new)
                _same_class(new)
                _url(new)
            case "UPDATE":
                _unchanged(old, new)
                self._display_name(new)
            case "DELETE" if old["spec"].get("backend") != "cdi":
                self._unused(old)

    def _parameters(self, image: Object) -> list[Object]:
        wanted = _annotations(image).get(CLASS, "")
        found = (
            self._class(wanted) if wanted else self._default("no default storageClass found for backingImage")
        )
        known = image["spec"].get("storageClassParameters")
        given = known or {}
        if found["provisioner"] == "driver.longhorn.io":
            given = found.get("parameters") or {}
            if wanted and given.get("backingImage"):
                words = "can not use a backing image storageClass as the base storageClass template"
                raise internal(words)
        value = PARAMETERS | {key: part for key, part in given.items() if key in TAKEN}
        verb = "add" if known is None else "replace"
        return [{"op": verb, "path": "/spec/storageClassParameters", "value": value}]

    def _ensure_class(self, image: Object) -> list[Object]:
        noted, wanted = _annotations(image).get(CLASS, ""), image["spec"].get("targetStorageClassName", "")
        name = noted or wanted or str(self._default("missing default storage class")["metadata"]["name"])
        patch: list[Object] = []
        if not noted:
            if "annotations" not in image["metadata"]:
                patch.append({"op": "add", "path": "/metadata/annotations", "value": {}})
            escaped = CLASS.replace("/", "~1")
            patch.append({"op": "add", "path": f"/metadata/annotations/{escaped}", "value": name})
        if not wanted:
            patch.append({"op": "add", "path": "/spec/targetStorageClassName", "value": name})
        return patch

    def _golden(self, namespace: str, claim: Object) -> list[Object]:
        """A claim with the name of one of CDI's images is that image, and gets the mark."""
        image = self._api.get(IMAGE, namespace, claim["metadata"].get("name") or "-")
        if image is None or image["spec"].get("backend") != "cdi":
            return []
        if "annotations" not in claim["metadata"]:  # its patch replaces a part that does not exist
            raise internal(f"jsonpatch replace operation does not apply: {GOLDEN}")
        marked = _annotations(claim) | {GOLDEN: "true"}
        return [{"op": "add", "path": "/metadata/annotations", "value": marked}]

    def _class(self, name: str) -> Object:
        found = self._api.get(STORAGE_CLASS, "", name)
        if found is None:
            raise internal(f'storageclasses.storage.k8s.io "{name}" not found')
        return found

    def _default(self, otherwise: str) -> Object:
        classes, _ = self._api.list(STORAGE_CLASS)
        found = [one for one in classes if _annotations(one).get(DEFAULT) == "true"]
        if not found:
            raise internal(otherwise)
        return found[0]

    def _display_name(self, image: Object) -> None:
        name, metadata = image["spec"]["displayName"], image["metadata"]
        if not name:
            raise Refused("displayName is required")
        for other in self._api.list(IMAGE)[0]:
            same = (other["metadata"].get("labels") or {}).get(DISPLAY_NAME) == name
            here = other["metadata"]["namespace"] == metadata["namespace"]
            if same and here and other["metadata"]["uid"] != metadata.get("uid"):
                raise Refused("A resource with the same name exists", 409, "Conflict")

    def _unused(self, image: Object) -> None:
        wanted = (image.get("status") or {}).get("storageClassName")
        called = f"{image['metadata']['namespace']}/{image['spec']['displayName']}"
        for claim in self._api.list(CLAIM)[0] if wanted else []:
            if claim["spec"].get("storageClassName") == wanted:
                user = f"{claim['metadata']['namespace']}/{claim['metadata']['name']}"
                raise Refused(f"Cannot delete image {called}: being used by volume {user}")


def _annotations(thing: Object) -> dict[str, str]:
    return thing["metadata"].get("annotations") or {}


def _same_class(image: Object) -> None:
    noted, wanted = _annotations(image).get(CLASS, ""), image["spec"].get("targetStorageClassName", "")
    if noted and wanted and noted != wanted:
        raise Refused("storageClassName should keep the consistency")


def _url(image: Object) -> None:
    spec = image["spec"]
    url, source = spec.get("url", ""), spec["sourceType"]
    if source not in ("download", "restore"):
        if url:
            raise Refused(f'url should be empty when image source type is "{source}"')
        return
    if not url:
        raise Refused("url is required")
    try:
        urlsplit(url)
    except ValueError as error:
        raise Refused(f"url is invalid: {error}") from None


def _unchanged(old: Object, new: Object) -> None:
    fields = ["sourceType", "url", "displayName"]
    if new["spec"].get("backend") != "cdi":
        fields += ["storageClassParameters", "securityParameters"]
    for field in fields:
        if old["spec"].get(field) != new["spec"].get(field):
            raise Refused(f"{field} cannot be modified")
    before = (_annotations(old).get(CLASS, ""), old["spec"].get("targetStorageClassName", ""))
    after = (_annotations(new).get(CLASS, ""), new["spec"].get("targetStorageClassName", ""))
    if any(was and was != now for was, now in zip(before, after, strict=True)):
        raise Refused("storageClassName cannot be modified")
