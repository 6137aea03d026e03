"""Supervises who keeps this machine's time: chrony, NTPsec, or the kernel alone.

Promise: what a time service says, and that it is silent, is known to the gateway's clock within seconds, and
a change of source or authentication is on record. Nothing here sets a clock, and nothing stands on the way
of a reading.
"""

from coldseal.gateway.timekeeping.services import Services, open_clock
from coldseal.gateway.timekeeping.supervisor import Timekeeper

__all__ = ["Services", "Timekeeper", "open_clock"]
