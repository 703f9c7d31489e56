"""What the stage `adapt` does with a guest, decided from its inspection. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from steps.model.concerns import warn
from steps.model.contract import Exit, StepError
from steps.model.first_boot import Script
from steps.model.guest import Answer, Guest, GuestSystem
from steps.model.machine import Concern, Machine
from steps.model.mapping import shape
from steps.model.nic_names import Naming, paired, windows_rows
from steps.model.plan import Adapt, AgentPlan, GuestPlan, Plan

REFUSALS: Final[Mapping[str, Exit]] = {
    "guest-hibernated": Exit.UNSUPPORTED,
    "guest-dirty": Exit.UNSUPPORTED,
    "guest-several": Exit.AMBIGUOUS,
    "guest-root-missing": Exit.NOT_FOUND,
    "guest-wrong-key": Exit.DENIED,
    "guest-locked": Exit.INVALID,
    "guest-disk-missing": Exit.UNSUPPORTED,
    "guest-none": Exit.UNSUPPORTED,
    "guest-unknown": Exit.UNSUPPORTED,
    "guest-not-convertible": Exit.UNSUPPORTED,
    "guest-full": Exit.NO_SPACE,
}
"""The exit code for each concern that prevents an adaptation."""
_ABOUT_A_SYSTEM: Final = frozenset(REFUSALS) - {"guest-locked"}
"""Where a system can be seen, only a data disk is encrypted."""
REMEDIES: Final = {
    "guest-several": "choose one of them with spec.guest.root",
    "guest-locked": "name a Secret with its key in spec.guest.keys",
    "guest-wrong-key": "correct the key in the Secret of spec.guest.keys",
}
_CONTINUE: Final = "or set spec.guest.whenNotAdaptable: continue to import the disks unchanged"


class NotAdaptableError(StepError):
    """The guest cannot be adapted, because of what it is. `code` of the concern is `reason`."""

    def __init__(self, code: Exit, what: str, why: str = "", remedy: str = "", *, reason: str = "") -> None:
        super().__init__(code, what, why, "; ".join(part for part in (remedy, _CONTINUE) if part))
        self.reason = reason
        self.own_remedy = remedy


@dataclass(frozen=True)
class Loader:
    """Copies of a boot loader on an EFI system partition; paths below EFI."""

    esp: str
    copies: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Work:
    """What is done with a guest."""

    convert: bool = False
    """Whether virt-v2v converts it."""
    naming: Naming = field(default_factory=Naming)
    mac_rows: tuple[str, ...] = ()
    """Values of virt-v2v's option --mac."""
    loader: Loader | None = None
    scripts: tuple[Script, ...] = ()
    agent: bool = False
    concerns: tuple[Concern, ...] = ()

    @property
    def edits(self) -> bool:
        """Whether vmferry itself changes files of the guest."""
        return bool(self.naming.pairs or self.loader or self.scripts or self.agent)

    @property
    def is_needed(self) -> bool:
        return self.convert or self.edits


def decide(guest: Guest, plan: Plan, machine: Machine, scripts: Sequence[Script] = ()) -> Work:
    """What the import's `spec.guest` means for this guest.

    Raises:
        NotAdaptableError: it must not be changed, or cannot be.
    """
    wanted = plan.guest
    if wanted.adapt is Adapt.NEVER:
        return Work()
    if refusal := _refusal(guest, wanted.adapt):
        raise refusal
    assert guest.system is not None  # noqa: S101 - without a system there is a refusal
    convert = wanted.adapt is Adapt.ALWAYS or guest.verdict.answer is Answer.CONVERT
    kept = {one.mac for one in shape(plan, machine).interfaces if one.mac}
    if guest.system.family == "windows":
        return _for_windows(guest.system, wanted, machine, kept, scripts, convert=convert)
    if scripts and not guest.system.has_systemd:
        raise NotAdaptableError(
            Exit.UNSUPPORTED,
            "the scripts of spec.guest.firstBoot cannot be installed",
            f"{guest.system.product} has no systemd, which would start them",
            "remove spec.guest.firstBoot",
        )
    naming = paired(guest.system.network, guest.system.named_nics, machine.nics, kept)
    loader, loader_concerns = fallback_loader(guest, efi=machine.firmware.kind == "efi")
    return Work(
        convert=convert,
        naming=naming,
        loader=loader,
        scripts=tuple(scripts),
        agent=_gets_agent(guest.system, wanted, convert=convert),
        concerns=(*naming.concerns, *loader_concerns),
    )


def _gets_agent(system: GuestSystem, wanted: GuestPlan, *, convert: bool) -> bool:
    """Whether our own script installs the agent: it does nothing if virt-v2v's has done it."""
    asked = wanted.agent is AgentPlan.FIRST_BOOT or (wanted.agent is AgentPlan.IF_CONVERTED and convert)
    return asked and system.has_systemd and "qemu_guest_agent" not in system.agents


def _refusal(guest: Guest, adapt: Adapt) -> NotAdaptableError | None:
    """What prevents it. A guest that fits may have concerns that only prevent its conversion."""
    if guest.verdict.answer is Answer.LEAVE:
        reason = guest.verdict.reason
    elif adapt is Adapt.ALWAYS:
        reason = next((one.code for one in guest.concerns if one.code in _ABOUT_A_SYSTEM), "")
    else:
        reason = ""
    if not reason:
        return None
    concern = next((one for one in guest.concerns if one.code == reason), None)
    return NotAdaptableError(
        REFUSALS.get(reason, Exit.UNSUPPORTED),
        "the guest cannot be adapted",
        concern.message if concern else guest.verdict.text,
        REMEDIES.get(reason) or (concern.remedy if concern else ""),
        reason=reason,
    )


def _for_windows(
    system: GuestSystem,
    wanted: GuestPlan,
    machine: Machine,
    kept: Iterable[str],
    scripts: Sequence[Script],
    *,
    convert: bool,
) -> Work:
    if scripts and not convert:
        raise NotAdaptableError(
            Exit.UNSUPPORTED,
            "the scripts of spec.guest.firstBoot cannot be installed",
            "Windows starts them by what virt-v2v installs, and this guest needs no conversion",
            "set spec.guest.adapt: always, or remove spec.guest.firstBoot",
        )
    if not convert:
        return Work()
    if not wanted.virtio_win:
        raise NotAdaptableError(
            Exit.INVALID,
            f"{system.product} cannot be converted",
            "there is no virtio-win, which has its drivers",
            "give its folder or ISO image with --virtio-win PATH, also for vmferry retry",
            reason="guest-no-windows-drivers",
        )
    rows = windows_rows(system.network, machine.nics, frozenset(kept))
    return Work(convert=True, mac_rows=rows.rows, scripts=tuple(scripts), concerns=rows.concerns)


# --- the loader that firmware without boot entries starts

_SHIM: Final = "shimx64.efi"
_GRUB: Final = "grubx64.efi"
_HELPERS: Final = (_GRUB, "mmx64.efi")
"""What shim loads from its own folder."""
_OTHERS: Final = {"systemd": "systemd-bootx64.efi", "microsoft": "boot/bootmgfw.efi"}
FALLBACK: Final = "BOOT/BOOTX64.EFI"


def fallback_loader(guest: Guest, *, efi: bool) -> tuple[Loader | None, tuple[Concern, ...]]:
    r"""Which loader becomes \EFI\BOOT\BOOTX64.EFI, where the VM boots with EFI and none is there.

    Only the loader of the only vendor is taken: of several, the firmware's boot entries chose one.
    """
    firmware = guest.firmware
    if not efi or not firmware.efi or firmware.fallback_loader:
        return None, ()
    found = {vendor: copies for vendor, copies in _candidates(firmware.loaders) if copies}
    if len(found) == 1:
        return Loader(firmware.esp, next(iter(found.values()))), ()
    why = f"there are loaders of {', '.join(sorted(found))}" if found else "none of its loaders is known"
    return None, (
        warn(
            "guest-no-fallback-loader",
            f"{firmware.esp} has no \\EFI\\BOOT\\BOOTX64.EFI, and vmferry does not write it: {why}",
            "copy the right loader there, or the VM stops in the EFI shell",
        ),
    )


def _candidates(loaders: Sequence[str]) -> Iterator[tuple[str, tuple[tuple[str, str], ...]]]:
    vendors: dict[str, dict[str, str]] = {}
    for path in loaders:
        vendor, _, name = path.partition("/")
        if vendor.lower() != "boot":
            vendors.setdefault(vendor, {})[name.lower()] = path
    for vendor, files in vendors.items():
        if _SHIM in files:
            helpers = tuple((files[name], f"BOOT/{name}") for name in _HELPERS if name in files)
            yield vendor, ((files[_SHIM], FALLBACK), *helpers)
            continue
        first = next((files[name] for name in (_GRUB, _OTHERS.get(vendor.lower(), "")) if name in files), "")
        yield vendor, ((first, FALLBACK),) if first else ()


# --- the proof


def faults(guest: Guest, work: Work) -> list[str]:
    """What is not as it should be in the guest after its adaptation, as an inspection reads it back."""
    system = guest.system
    if system is None:
        return [f"no system is found any more: {guest.verdict.text}"]
    missing = []
    if work.convert and not any(bus.name == "virtio" for bus in guest.disk_buses):
        missing.append("the guest has no driver for virtio disks when it boots")
    if work.convert and not any(model.name == "virtio" for model in guest.nic_models):
        missing.append("the guest has no driver for virtio NICs")
    bound = {(one.name, one.mac) for one in system.named_nics}
    missing += [
        f"{pair.name} is not bound to {pair.mac}"
        for pair in work.naming.pairs
        if (pair.name, pair.mac) not in bound
    ]
    if work.loader and not guest.firmware.fallback_loader:
        missing.append("\\EFI\\BOOT\\BOOTX64.EFI is not there")
    return missing
