"""Figures: one module each, run by `scripts/bench NAME`. Each prints versions, machine, command, table, ratio."""
