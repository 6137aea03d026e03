"""The ingestion service: takes logs of gateways in, verifies, stores and cosigns them.

The main path is `ingest`. It is the first witness of every log; it seals nothing itself.
"""
