"""`coldseal gateway broker-config`: files of an external broker that takes readings in for this gateway.

Writes them, or says what differs from what would be written. It starts and reloads no broker.
"""

from pathlib import Path

from coldseal.cli.output import print_json, print_lines

AGAINST = 1


def mosquitto(
    config: Path,
    /,
    *,
    out: Path | None = None,
    check: bool = False,
    set_: list[str] | None = None,
    as_json: bool = False,
) -> int:
    """Write a hardened Mosquitto configuration, its access list from the registry, and systemd units.

    A WEAKER PROMISE than the gateway's own listener: the broker acknowledges a reading to its device before
    the gateway has sealed it, and what a killed broker had not written down is lost without a trace.

    Args:
        config: gateway.toml, with [broker], [broker.mosquitto] and a strict registry of topics.
        out: folder to write to; broker.mosquitto.folder, where they will stand, unless it is given.
        check: write nothing; the exit code is 1 when a file is not there or not as it would be written.
        set_: one setting to override, as table.key=value; may be given several times.
        as_json: answer with one JSON object.
    """
    from coldseal.gateway.broker_setup import differing, render_files, write_files
    from coldseal.gateway.config import load_gateway
    from coldseal.gateway.governance import open_policy
    from coldseal.gateway.sources.broker.report import PROMISE

    settings = load_gateway(config, set_ or ())
    files = render_files(settings.broker, open_policy(settings))
    folder = settings.broker.mosquitto.folder if out is None else out
    found = differing(files, folder) if check else write_files(files, folder)
    if as_json:
        names = [str(path) for path in found]
        print_json({"folder": str(folder), "differing" if check else "written": names, "promise": PROMISE})
    elif check:
        print_lines(*(f"differs  {path}" for path in found))
        print_lines(f"{len(found)} of {len(files)} files differ from what would be written to {folder}")
    else:
        print_lines(*(f"written  {path}" for path in found))
        print_lines(f"{len(found)} of {len(files)} files written to {folder}", f"The promise is {PROMISE}.")
    return AGAINST if check and found else 0
