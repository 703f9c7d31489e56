"""The disk data path: it turns the bytes of a source into one finished disk file, in one pass.

    body ──→ pump ──→ stream ──→ vmdk | plain ──→ sink (qcow2 | raw) ──→ writer
    HTTP     thread    in order    records to       clusters to file       thread
    file     1 MiB     + CRC-32    64 KiB blocks    offsets                2 MiB runs

Everything between the two threads runs in the caller's thread; `land.land` is the only entry point.
"""
