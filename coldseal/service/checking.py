"""What a worker process of the verification is before it gets work: quiet, and gone with its parent.

Imports little, because every worker imports it at its start; what it then does is `signatures.refute`.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from multiprocessing.connection import wait


def prepare_worker(niceness: int) -> None:
    """Set a worker up: its priority, deaf to the terminal's ^C, and gone when its parent is gone."""
    os.nice(niceness)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_follow_parent, daemon=True).start()


def _follow_parent() -> None:
    """End this process once the one that started it has died, in whatever way."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
