"""The boot check: proves that the guest of a new VM has booted, and gives it SATA once if it has not.

evidence    what is seen of the guest from outside, one look after the other
counters    how the counters of its disks and NICs are read
kept        where the screenshot and the end of the console are kept
fallback    the VM with SATA disks and e1000e NICs
check       the stages of all that, which survive a kill at any request
"""
