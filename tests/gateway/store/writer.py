"""A process that writes a log as fast as it can, and says what is acknowledged; made to be killed.

Run as a module with a folder. Each line on its output is a seq below which everything was
acknowledged; a line is written only behind the commit that it speaks of.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
from pathlib import Path

from coldseal.gateway.store.log import Limits
from tests.gateway.store.logs import NOW_MS, group, open_log


async def write(folder: Path) -> None:
    """Open, and commit groups of all sizes until killed."""
    log = open_log(folder, limits=Limits(reserve_mb=0, wal_mb=1, segment_entries=3000, state_entries=500))
    sizes = random.Random(log.size)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(log.maintain())
        while True:
            await log.commit(group(log, sizes.choice((1, 2, 5, 64, 200)), length=500, has_checkpoint=True))
            os.write(1, f"{log.size}\n".encode())
            if log.size - log.segment_first >= log.segment_entries:
                await log.roll(NOW_MS)


if __name__ == "__main__":
    asyncio.run(write(Path(sys.argv[1])))
