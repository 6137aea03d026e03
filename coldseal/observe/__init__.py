"""What a person or a monitoring system can see of a running program: events, metrics, health.

Every event and every metric is declared once, with its meaning, in a catalogue. Nothing here
decides anything, and nothing secret passes through.
"""
