"""For authors of vendors: the files of a new vendor, and what documents say of all vendors and of their contract.

`scripts/docs` runs `python -m bridge.vendor_kit`. Each part is between two markers; the rest is written by hand.
"""
