"""Evidence as a file: which entries go in, how it is laid out, how it is read, how it is verified.

Bundles are made from any `Source` and verified with the standard library and `cryptography` alone. What is
right is decided by `core.log`; here it is read, written, and spread over processes.
"""
