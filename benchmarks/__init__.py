"""Figures: one module each, run by `scripts/bench NAME`. Every one prints versions, machine, command, table and ratio."""
