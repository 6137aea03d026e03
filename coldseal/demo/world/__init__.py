"""Gateway, network and service in one process, on a virtual clock, with faults drawn from a seed."""
