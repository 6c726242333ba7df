"""A deterministic simulation: vendors, bridge and disasters on one virtual clock, from one seed."""
