"""What this machine can do at best, measured in the same run: signing, verifying, one durable write."""

from __future__ import annotations

import multiprocessing
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

_ECDSA = ec.ECDSA(hashes.SHA256())
_BODY = b"x" * 520  # about as long as the signed part of an entry with two quantities
_ROUNDS = 5
_START_S = 2.0
"""Within which every process of a pool has begun to listen."""


def signing_rate(seconds: float) -> float:
    """Measure P-256 signatures a second on one core."""
    key = ec.generate_private_key(ec.SECP256R1())
    return rate(lambda: key.sign(_BODY, _ECDSA), seconds)


def verifying_rate(seconds: float, *, rounds: int = _ROUNDS) -> float:
    """Measure P-256 verifications a second on one core."""
    key = ec.generate_private_key(ec.SECP256R1())
    signature, public = key.sign(_BODY, _ECDSA), key.public_key()
    return rate(lambda: public.verify(signature, _BODY, _ECDSA), seconds, rounds=rounds)


def verifying_rate_all_cores(seconds: float) -> float:
    """Measure P-256 verifications a second with one process on each core, all at the same time.

    Cores that share a cache, a clock or a neighbour give less together than each gives alone. What they were
    held up counts, as it does for whatever is held against this.
    """
    cores = len(os.sched_getaffinity(0))
    with multiprocessing.get_context("spawn").Pool(cores) as pool:
        begin = time.monotonic() + _START_S
        rates = pool.starmap(_verifying_from, [(begin, seconds)] * cores, chunksize=1)
        pool.close()
        pool.join()  # the end of the block would send signals, on which such a pool can hang
    return sum(rates)


def _verifying_from(begin: float, seconds: float) -> float:
    """Measure one core's rate from a moment on, which is the same for all."""
    time.sleep(max(0.0, begin - time.monotonic()))
    return verifying_rate(seconds, rounds=1)


def fdatasync_us(folder: Path, seconds: float) -> float:
    """Measure the median time of writing 4 KiB durably, in microseconds."""
    path = folder / "fdatasync.probe"
    handle = os.open(path, os.O_CREAT | os.O_WRONLY, 0o600)
    page, taken, offset = b"y" * 4096, [], 0
    try:
        end = time.perf_counter() + seconds
        while (begun := time.perf_counter()) < end:
            os.pwrite(handle, page, offset)
            os.fdatasync(handle)
            taken.append(time.perf_counter() - begun)
            offset += len(page)
    finally:
        os.close(handle)
        path.unlink()
    return statistics.median(taken) * 1e6


def rate(step: Callable[[], object], seconds: float, *, batch: int = 100, rounds: int = _ROUNDS) -> float:
    """Count how often ``step`` runs in a second: the median of a few rounds, each of whole batches."""
    rates = []
    for _ in range(rounds):
        count, begun = 0, time.perf_counter()
        while (now := time.perf_counter()) < begun + seconds / rounds:
            for _ in range(batch):
                step()
            count += batch
        rates.append(count / (now - begun))
    return statistics.median(rates)
