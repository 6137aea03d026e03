"""`coldseal gateway topics asyncapi`: the topics of the registry as an AsyncAPI document.

For those who make devices; nothing here asks a gateway.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from coldseal.cli.output import print_json, print_lines

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from coldseal.core.asyncapi import Form, Server, Site
    from coldseal.core.coldchain.schema import Schema
    from coldseal.gateway.config import GatewayConfig


def asyncapi(
    config: Path, file: Path | None = None, /, *, set_: list[str] | None = None, as_json: bool = False
) -> int:
    """Write the topics of the registry as an AsyncAPI 3.0 document: channels, payloads, listeners, security.

    The same registry and schemas give the same bytes, so the document can be kept under version control.

    Args:
        config: gateway.toml.
        file: where to write it; left out, it is printed.
        set_: one setting to override, as table.key=value; may be given several times.
        as_json: answer with one JSON object, as without it where no file is named.
    """
    from coldseal.core.asyncapi import describe
    from coldseal.errors import OperatorError
    from coldseal.gateway.config import load_gateway

    document = describe(site_of(load_gateway(config, set_ or ())))
    if file is None:
        print_json(document)
        return 0
    try:
        file.write_bytes(encode(document))
    except OSError as error:
        raise OperatorError(f"{file}: {error.strerror}", "Name a file that can be written") from error
    facts = {"file": str(file), "channels": len(document["channels"])}
    if as_json:
        print_json(facts)
    else:
        print_lines(f"{file} describes {facts['channels']} channels")
    return 0


def encode(document: "Mapping[str, Any]") -> bytes:
    """Write a document's bytes: indented, ending in a line feed."""
    import msgspec

    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


def site_of(config: "GatewayConfig") -> "Site":
    """Gather what a document is made of.

    Raises:
        OperatorError: registry or a schema is wrong.
    """
    from coldseal import __version__
    from coldseal.core.asyncapi import Site
    from coldseal.gateway.governance import open_policy, read_registry
    from coldseal.gateway.schemas import read_published, read_site

    open_policy(config)  # refuses a registry that contradicts itself
    registry = read_registry(config.topics.registry) if config.topics.registry is not None else None
    return Site(
        config.gateway.site,
        f"coldseal gateway of site {config.gateway.site}",
        __version__,
        _servers(config),
        _forms([*read_published(), *read_site(config)]),
        registry,
    )


def _servers(config: "GatewayConfig") -> "list[Server]":
    """Give the listeners of a configuration."""
    from coldseal.core.asyncapi import Server

    mqtt, found = config.mqtt, []
    has_passwords = mqtt.passwords is not None
    if mqtt.listen is not None:
        found.append(Server("tls", str(mqtt.listen), True, mqtt.client_ca is not None, has_passwords))
    if mqtt.plain_listen is not None:
        found.append(Server("plain", str(mqtt.plain_listen), False, False, has_passwords))
    return found


def _forms(schemas: "list[Schema]") -> "Mapping[str, Sequence[Form]]":
    """Give the ways to write a payload, by each name that a channel may have for its schema."""
    from coldseal.core.asyncapi import Form
    from coldseal.core.coldchain.schema import SENML, document_of

    found: dict[str, list[Form]] = {}
    for each in schemas:
        forms = [Form(f"{each.name}-{each.version}".replace(".", "_"), _content(each), document_of(each))]
        if each.name == SENML:
            forms.append(Form("senml-1-cbor", "application/senml+cbor", None))
        found[str(each)] = forms
        found.setdefault(each.name, []).extend(forms)
    return {**found, "": [form for each in schemas for form in found[str(each)]]}


def _content(schema: "Schema") -> str:
    """Give the content type of a schema's payloads."""
    from coldseal.core.coldchain.schema import SENML

    return "application/senml+json" if schema.name == SENML else "application/json"
