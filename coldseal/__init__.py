"""coldseal: a gateway that acknowledges a reading once it is signed, chained and on disk."""

__version__ = "0.1.0"
