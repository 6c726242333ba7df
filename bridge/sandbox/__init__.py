"""A simulated vendor, a class of candidates and four subscribers around a real bridge: the `attempt-bridge demo`."""
