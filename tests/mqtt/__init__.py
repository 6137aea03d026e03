"""Tests of the MQTT codec and machines."""
