"""Alarms inside the gateway, told to real servers on loopback."""
