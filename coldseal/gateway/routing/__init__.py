"""Routes to enterprise endpoints: a process of its own reads the log, and each sink has its own position.

Reads the log and never writes it; a sink that is away holds up neither another one nor the gateway.
"""
