"""Calls that a vendor allows: windows, and budgets counted in one script."""
