"""The service: verified before stored, stored before acknowledged, over real TLS and real files."""
