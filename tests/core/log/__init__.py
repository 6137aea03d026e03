"""The log: its formats against public vectors, its refusals against every attack on a format."""
