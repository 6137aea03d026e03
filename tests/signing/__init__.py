"""Claims about keys and secrets."""
