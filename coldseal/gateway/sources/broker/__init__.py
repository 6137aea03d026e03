"""Readings from an external MQTT broker: acknowledged to it once they are signed, chained and on disk.

The broker has acknowledged them to their devices before. What it loses until then is in no log.
"""
