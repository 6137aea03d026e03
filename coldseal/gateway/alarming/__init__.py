"""Alarms inside the gateway: kept from what is on disk, put on record, shown by MQTT, handed to people.

Handing over stands in a process of its own; nothing here delays an acknowledgement.
"""
