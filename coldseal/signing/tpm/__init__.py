"""What a TPM 2.0 does for a gateway: it signs checkpoints, keeps secrets, counts segments, attests the boot.

Only the modules of this package know the driver, and they are imported only where a configuration names the
chip: without the extra `coldseal[tpm]` everything else runs as ever.
"""
