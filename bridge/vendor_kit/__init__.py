"""For authors of vendors: the files of a new vendor, and the generated parts of documents about all vendors.

`scripts/docs` runs `python -m bridge.vendor_kit`. Each part is between two markers; the rest is written by hand.
"""
