"""The configuration files that `init` writes: the settings that a person decides about, and why.

All other settings have defaults; `docs/reference/configuration.md` lists them. Values in braces are
TOML already.
"""

GATEWAY = """\
# Configuration of a coldseal gateway. Paths are relative to this file; every setting with its limits
# and default stands in docs/reference/configuration.md. An unknown key is an error.

[gateway]
# Name of this gateway's log. Never used again for another log.
origin = {origin}
# Devices publish to coldseal/v1/SITE/DEVICE/reading/SENSOR.
site = {site}
data = "data"
# "record": every entry is signed. "checkpoint": one signature for each commit, for high rates.
signature = "record"
# The last receipt of a lost log that this one continues; empty: it continues none.
after = {after}

[mqtt]
# Loopback only, until you decide otherwise: "0.0.0.0:8883" takes devices from the network, by TLS 1.3.
listen = "127.0.0.1:8883"
certificate = {certificate}
key = {key}
# Devices show a certificate of this CA; its name is the one below which a device may publish.
client_ca = {trust}
# Devices without certificates: a password file, made by `coldseal identity password`.
passwords = ""

# What devices may do beyond their own topics, which need no grant:
# [[grants]]
# device = "display-1"
# subscribe = ["coldseal/v1/SITE/+/reading/#"]

[store]
key = "file:store.key"
# When the store is full, readings are no more acknowledged: devices keep them.
limit_mb = 8192
# A wait of e.g. 250 ms gathers more readings in a commit and spares flash memory.
commit_window_ms = 0

[keys]
record = "file:record.pem"
checkpoint = "file:checkpoint.pem"
interop = "file:interop.pem"

[uplink]
# The ingestion service; empty: entries stay here.
url = {uplink}
certificate = {certificate}
key = {key}
ca = {trust}
# The key whose cosignature is the receipt, as `coldseal service init` prints it.
witness = {witness}

# Further witnesses, of somebody else, and how many must cosign (the service is one of them):
# [[uplink.witnesses]]
# url = "https://HOST:8443/v1/witness"
# key = "the verifier key that it shows"
# [witness]
# quorum = 2

# The enrolment server, which renews the certificates of this file by itself; docs/how-to/renewal.md:
# [enrolment]
# url = "https://HOST:9443"

# Where this gateway may connect to, and nowhere else; without entries, exactly what this file names:
# [[egress.allow]]
# host = "HOST"
# port = 8443
# pins = ["SHA-256 of a public key in its chain, base64"]

# Ended segments, as verified bundles on another disk; and how long they stay here then:
# [archive]
# directory = "/media/archive/GATEWAY"
# [[retention]]
# name = "rest"
# days = 90

[http]
# /healthz /readyz /metrics /status, for this machine only.
listen = "127.0.0.1:9464"
"""

SERVICE = """\
# Configuration of the coldseal ingestion service. Paths are relative to this file; every setting with
# its limits and default stands in docs/reference/configuration.md. An unknown key is an error.

[service]
# Name of this service's witness, as it stands in its verifier key.
name = {name}
# Loopback only, until you decide otherwise: "0.0.0.0:8443" takes gateways from the network.
listen = "127.0.0.1:8443"
data = "data"

[tls]
certificate = {certificate}
key = {key}
# Gateways show a certificate of this CA, and send only logs that were admitted for them.
client_ca = {trust}

[witness]
# Its cosignature on a checkpoint is the receipt.
key = "file:witness.pem"

[store]
key = "file:store.key"
limit_mb = 65536

# Certificates for gateways and devices, by EST, from a CA that `coldseal identity ca init` made:
# [est]
# listen = "127.0.0.1:9443"
# authority = "/srv/coldseal/ca"

# Closed ranges of every log as tables with signed manifests; `coldseal service bulk run` writes them:
# [bulk]
# url = "file:///srv/coldseal/bulk"

[http]
# /healthz /readyz /metrics /status, for this machine only.
listen = "127.0.0.1:9465"
"""
