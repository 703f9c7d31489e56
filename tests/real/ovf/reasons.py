"""Why a verdict of `verdicts.tsv` differs from that of VMware's products."""

from __future__ import annotations

from typing import Final

REFUSED: Final = {
    "no-disks": "there is nothing to import without a disk",
    "NotFound": "it describes several VMs, and an import names one of them",
    "Invalid": "it describes no VM: an empty vApp",
    "Unsupported": "a file lies outside of the package (../, an http URL, a UNC path); docs/decisions/0030",
    "Corrupt": "a prefix is not bound to a namespace, so it is no XML; VMware's parser takes it",
}
"""By the verdict: why a descriptor in a folder Pos is refused."""

_PLACE = "the section is of no use for a VM at the target, so its place does not matter"
_PROPERTY = "OVF properties are not carried over; a concern reports it where the guest expects them"
_RANGE = "ranges of a size are not used; the item without a bound is the size"
_SIZE = "the size in the reference is only compared with the file; one that is no number counts as unknown"
_FILE = "the fault is in the disk file, and the generated one is sound"
_CHUNK = "a chunk size that is no number means that the file is not split; a missing file is reported"
_CONTROLLER = "only what refers to an item needs its id, and nothing refers to this one"
TAKEN: Final = {
    "ann_sec_elsewhr": _PLACE,
    "net_sec_elsewhr": _PLACE,
    "ras_sec_elsewhr": _PLACE,
    "dup_prodsec": _PLACE,
    "prop_no_type": _PROPERTY,
    "prop_dup_keys": _PROPERTY,
    "prop_invalid_type": _PROPERTY,
    "prop_no_key": _PROPERTY,
    "valid_certificate": "certificates are not checked, which the plan reports",
    "dup_filerefs": "two disks may be made from one file: each becomes a copy",
    "invalid_createType_disk": "the URI means any VMDK; which one shows its header",
    "invalid_delta_reference_disk": _FILE,
    "no_capacity": "the capacity is read from the file",
    "no_format": "the format follows from the name of the file",
    "not_in_order_disks": "disks are found by their ids, so their order does not matter",
    "popsize_gt_capacity": "the populated size is only an estimate for progress",
    "gzip_compression": _FILE,
    "identity_compression": _FILE,
    "invalid_vmdk": _FILE,
    "valid_no_disk": _FILE,
    "valid_no_disk_in_server": _FILE,
    "xp-multinic": _FILE,
    "UnOS2-large-descriptor": "it is smaller than the limit of 8 MiB, and read in little time",
    "invalid_neg_chunk": _CHUNK,
    "invalid_ref_size_neg": _SIZE,
    "invalid_version": "the version is not used: what is read is the same in all versions",
    "nvm001": "the fault is in the options of VMware's command, not in the descriptor",
    "child_uitem_req_unspec": "an unknown element is ignored: writers forget to say that it is optional",
    "dup_instanceid": "two devices of different kinds share an id that nothing refers to",
    "no_instanceid": _CONTROLLER,
    "empty_item": "an item without a type is no device",
    "empty_system": "the description of the virtual system's family is not used",
    "invalid_multiple_vh": "of several hardware sections the first one counts (DSP0243, 8.1)",
    "maxwith_nonormal": _RANGE,
    "noninteger_range": _RANGE,
    "twomax_rangemarker": _RANGE,
    "twomin_rangemarker": _RANGE,
}
"""By the name of the descriptor: why one in a folder Neg is taken."""
