"""Events of the TPM or HSM and what it attests."""

from __future__ import annotations

from coldseal.observe.events.event import Event

HARDWARE_KEY_AWAY = Event(
    "hardware.key-away",
    "critical",
    ("error",),
    "The chip or token that holds the checkpoint key does not sign. Readings are acknowledged, signed each;"
    " checkpoints wait. Look at the chip; after hardware.patience_s a software key takes its place.",
)
HARDWARE_KEY_BACK = Event(
    "hardware.key-back",
    "info",
    ("seconds",),
    "The chip or token signs again, and checkpoints are made as before.",
)
HARDWARE_KEY_REPLACED = Event(
    "hardware.key-replaced",
    "critical",
    ("seq", "error"),
    "Checkpoints are signed by a software key from the `key` entry `seq` on, which says why. Repair the chip,"
    " then change back by `coldseal identity roll-over CONFIG checkpoint`.",
)
TRANSPORT_KEY_AWAY = Event(
    "hardware.transport-key-away",
    "critical",
    ("error",),
    "The TPM that holds the transport key does not sign: no connection to the service can be begun. Readings"
    " are acknowledged and wait; it is tried again. Look at the chip.",
)
TRANSPORT_KEY_BACK = Event(
    "hardware.transport-key-back",
    "info",
    (),
    "The TPM signs with the transport key again.",
)
HARDWARE_STAND_IN = Event(
    "hardware.stand-in",
    "warning",
    ("key",),
    "The log's checkpoint key is a software key though one in hardware is configured. Change to it by"
    " `coldseal identity roll-over CONFIG checkpoint`.",
)
HARDWARE_STUCK = Event(
    "hardware.stuck",
    "critical",
    ("error",),
    "No software key could take the place of the one in hardware: checkpoints wait on. Look at the disk and"
    " at hardware.fallback.",
)
COUNTER_AWAY = Event(
    "hardware.counter-away",
    "critical",
    ("error",),
    "The TPM's counter of segments cannot be raised or read: it would not notice a restored disk image.",
)
COUNTER_BACK = Event(
    "hardware.counter-back",
    "info",
    ("value",),
    "The TPM's counter of segments is raised and certified again.",
)
COUNTER_RAISED = Event(
    "hardware.counter-raised",
    "info",
    ("value", "size"),
    "The TPM counted the end of a segment and certified the checkpoint over it.",
)
