"""The way to the ingestion service: a process of its own that delivers the log and keeps the receipts.

`runner` follows the pure machine `coldseal.core.log.delivery`. It reads the log and never writes it.
"""
