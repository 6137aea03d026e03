"""MQTT 3.1.1 and 5.0 as pure values and machines: bytes in, packets and events out, and back.

Here are no sockets, no timers and no authentication: whoever owns those feeds the machines.
Both ends share packets and codec; `client` and `broker` are the two session machines.
"""
