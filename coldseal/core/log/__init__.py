"""The log: canonical bytes, sealed entries, the Merkle tree over them, and signed checkpoints.

Promises the formats of ``docs/specs/records.md`` byte for byte, in a bare install.
Does not store, send or sign: keys and disks belong to the layers above.
"""
