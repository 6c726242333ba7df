"""Writes what documents say about vendors and the vendor contract, from declarations and code.

`scripts/docs` runs `python -m bridge.vendor_docs`. Each part is between two markers; the rest is written by hand.
"""
