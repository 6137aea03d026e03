"""Delivery of a log from gateway to service: the pure machine of both ends.

`wire` is what they say, `sender` the gateway's end, `receiver` and `signatures` the service's; `notices` tell
urgent entries ahead.
At least once on the wire, exactly once in the log; no network, no clock, no storage here.
"""
