"""Benchmarks, one module each, run by `scripts/bench NAME`; each prints versions, machine, command, table and ratio."""
