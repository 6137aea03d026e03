"""Claims about the gateway's log on disk."""
