"""Keys that sign: a signer is opened by its URI and gives signatures, never its private key.

Only `file:` is served so far. Verification needs no key of ours and lives in `coldseal.core.log`.
"""
