"""A long log of ours, checked by implementations that nobody here wrote."""
