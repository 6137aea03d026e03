"""Drills: faults played on purpose on a live system, in a bounded and safe way, with signed evidence."""
