"""Looking into the disks of a VM, with libguestfs.

`run.py` starts a child that asks libguestfs; `collect*.py`, `ask.py`, `initramfs.py` and `ntfs.py` run in it.
They use only the standard library and the binding of libguestfs, which Debian has for its own Python.
What the answers mean is pure: `steps.model.guest_judge`.
"""
