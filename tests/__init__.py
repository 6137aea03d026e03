"""The claims of coldseal, each held by a test."""
