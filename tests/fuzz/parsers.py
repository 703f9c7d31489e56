"""The fuzzed parsers by name; their modules are imported late, as branches are counted from the import."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Final

from tests.fuzz.case import Parser

_DISK: Final = ("vmdk_decoder", "detect", "grains", "stream", "tables", "vmdk")
COVERS: Final[Mapping[str, Mapping[str, tuple[str, ...]]]] = {
    "engine": {
        "steps.providers.answers": (),
        "steps.providers.ovirt.concerns": (),
        "steps.providers.ovirt.describe": (),
        "steps.providers.ovirt.export": ("data_map", "_merged"),
    },
    "export-links": {
        "steps.providers.kubevirt.exports": ("_not_ready",),
        "steps.providers.kubevirt.links": (),
    },
    "guest-document": {
        "steps.guest.run": ("_facts", "_failure", "_heard", "_parsed", "_report"),
        "steps.model.guest_evidence": (),
        "steps.model.guest_judge": (),
    },
    "guest-network": {"steps.model.foreign_yaml": (), "steps.model.guest_network": ()},
    "initramfs": {
        "steps.guest.initramfs": (
            *("modules", "_module", "_names", "_archive", "_number", "_packed"),
            *("_Source.read", "_Source.skip", "_Source.skip_zeros", "_inflated.read", "_unpacked.read"),
        )
    },
    "migration-plan": {
        "workflows.migration.rules": (),
        "workflows.migration.schedule": (),
        "workflows.migration.windows": (),
    },
    "ntfs": {"steps.guest.ntfs": ()},
    "plan-selection": {
        "steps.model.log_text": (),
        "steps.model.packing": (),
        "steps.model.selecting": (),
        "workflows.migration.vms": ("_refuse_doubles", "import_name", "merged"),
    },
    "import-mapping": {
        "steps.model.matching": ("network_rules", "disk_rules", "storage_choice", "_shared_rows"),
        "workflows.import_mapping": (),
    },
    "virtualmachine": {
        "steps.model.kubeconfig": (),
        "steps.providers.kubevirt.answers": (),
        "steps.providers.kubevirt.concerns": (),
        "steps.providers.kubevirt.describe": (),
        "steps.providers.kubevirt.history": (
            "State.is_on",
            "State.is_stopping",
            "State.is_settled",
            "State.position",
            "Shutdown.of",
        ),
    },
    "layers": {"steps.disk.layers": ()},
    "ovf": {
        f"steps.providers.ova.{module}": () for module in ("envelope", "manifest", "markup", "names", "units")
    },
    "machine": {
        f"steps.providers.ova.{module}": ()
        for module in ("describe", "formats", "hardware", "items", "vendors")
    },
    "tar": {"steps.providers.ova.tar": (), "steps.providers.ova.names": ("checked_name",)},
    "state": {
        "steps.disk.detect": ("resume_decoder",),
        "steps.disk.landed": (),
        "steps.disk.state": ("LandingState.load", "LandingState._parse", "LandingState.validate"),
    },
    "v2v-secret": {"workflows.v2v_secret": ()},
    "vmdk": {f"steps.disk.{module}": () for module in _DISK},
    "containers": {
        "steps.convert": ("check", "ensure_format", "_converted"),
        "steps.disk.guesses": (),
        "steps.disk.detect": ("decoder_for", "detect_format", "_vmdk", "_qcow2_size"),
        "steps.disk.plain_decoder": (),
        "steps.disk.self_contained": (),
        "steps.disk.qemu": (
            "info",
            "check",
            "convert",
            "_refuse_other_files",
            "_run_json",
            "_absolute_name",
            "_failure",
        ),
    },
}
"""The modules whose branches are counted: of each these functions, or all if none is listed."""
_CLASSES: Final = {
    "containers": "tests.fuzz.containers:Containers",
    "engine": "tests.fuzz.engine:Engine",
    "export-links": "tests.fuzz.export_links:ExportLinks",
    "guest-document": "tests.fuzz.guest_document:GuestDocument",
    "guest-network": "tests.fuzz.guest_network:GuestNetwork",
    "import-mapping": "tests.fuzz.import_mapping:ImportMappings",
    "initramfs": "tests.fuzz.initial_ramdisk:Initramfs",
    "layers": "tests.fuzz.layers:Layers",
    "machine": "tests.fuzz.machines:Machines",
    "migration-plan": "tests.fuzz.migration_plan:Plan",
    "ntfs": "tests.fuzz.ntfs:Ntfs",
    "ovf": "tests.fuzz.ova:Descriptor",
    "plan-selection": "tests.fuzz.selection:Selection",
    "tar": "tests.fuzz.ova:TarIndex",
    "state": "tests.fuzz.remembered:Remembered",
    "v2v-secret": "tests.fuzz.v2v_secret:V2vSecret",
    "virtualmachine": "tests.fuzz.virtualmachine:VirtualMachine",
    "vmdk": "tests.fuzz.vmdk:Vmdk",
}


def parser_of(name: str) -> Parser:
    """The parser of a name above, or of MODULE:CLASS."""
    module, _, attribute = _CLASSES.get(name, name).partition(":")
    parser: Parser = getattr(import_module(module), attribute)()
    return parser
