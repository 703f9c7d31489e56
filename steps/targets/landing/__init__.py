"""What targets need if disks land directly on their volumes, instead of being served and fetched.

`admit` creates the claims (`claims`, `placement`), `hand-over` gives a volume to the namespace of the import
(`handover`), and `build` attaches it (`finished`). See docs/decisions/0034 and 0038.
"""
