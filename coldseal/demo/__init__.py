"""Simulated sensors and the show around them: everything real but the temperature."""
