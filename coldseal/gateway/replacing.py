"""Puts a log that is ready in the place of the one that was there, which goes into quarantine.

Promise: no file of the old log is deleted or changed; and whenever the program dies, the next start finds the
old log, or goes on until it finds the new one, with the origin and receipts that belong to it. Makes no log.
"""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Final

import msgspec

from coldseal.errors import UnavailableError
from coldseal.gateway.continued import NAME, RECEIPT, in_force
from coldseal.gateway.store.disk import DISK
from coldseal.gateway.uplink.receipts import NAME as RECEIPTS
from coldseal.gateway.writer import LOG_FOLDER, READY
from coldseal.signing.private_files import make_private_folder

if TYPE_CHECKING:
    from pathlib import Path

    from coldseal.gateway.config import GatewayConfig

QUARANTINE: Final = "quarantine"
"""Folder of old logs below the data folder; nothing in it is ever removed by this program."""

DAMAGED: Final = "damaged"
"""File below the data folder that says from which seq on the log was found damaged."""


def in_order(config: GatewayConfig) -> GatewayConfig:
    """Finish what a recovery that was cut short had ready; gives the configuration that is in force.

    Raises:
        UnavailableError: a folder cannot be moved.
    """
    data = config.gateway.data
    if (data / READY).is_dir():
        put_in_place(data, (data / READY / QUARANTINE).read_text())
    return msgspec.structs.replace(config, gateway=in_force(config.gateway))


def make_ready(draft: Path, data: Path, quarantine: str) -> None:
    """Say that a draft is whole: from now on it will be put in place, durably.

    Args:
        draft: a folder below the data folder, with the log and, where it changes, the origin in force.
        data: the data folder.
        quarantine: name of the folder that the old log goes to.
    """
    (draft / QUARANTINE).write_text(quarantine)
    _sync(draft)
    draft.rename(data / READY)
    DISK.sync_directory(data)


def take_back(data: Path) -> None:
    """Let a log that is ready, and could not be put in place, not be put there later; the old one goes on.

    Raises:
        UnavailableError: the old one has been moved already: there is no way back.
    """
    ready = data / READY
    if not ready.exists():
        return
    if not (data / LOG_FOLDER).exists():
        raise UnavailableError(str(data), "the recovered log could not be put in place")
    shutil.rmtree(ready)
    DISK.sync_directory(data)


def put_in_place(data: Path, name: str) -> None:
    """Put the log that is ready in the place of the old one, which goes into quarantine.

    Raises:
        UnavailableError: a folder cannot be moved; the next start goes on.
    """
    ready, old = data / READY, data / QUARANTINE / name
    try:
        make_private_folder(old)
        if (ready / LOG_FOLDER).exists():
            _move(data, old, LOG_FOLDER, DAMAGED)
            if (ready / NAME).exists():
                _move(data, old, NAME, RECEIPT, *(path.name for path in data.glob(f"{RECEIPTS}*")))
            _move(ready, data, NAME, RECEIPT)  # in this order: the first says whether the rest was done
            DISK.sync_directory(old)
            DISK.sync_directory(data)
            _move(ready, data, LOG_FOLDER)
            DISK.sync_directory(data)
        shutil.rmtree(ready)
        DISK.sync_directory(data)
    except OSError as error:
        raise UnavailableError(str(data), str(error.strerror)) from error


def _move(source: Path, target: Path, *names: str) -> None:
    """Move what is there."""
    for name in names:
        if (source / name).exists():
            (source / name).rename(target / name)


def _sync(folder: Path) -> None:
    """Make sure that all of a folder survives a power cut."""
    for path in sorted(folder.rglob("*")):
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(file)
        finally:
            os.close(file)
    DISK.sync_directory(folder)
