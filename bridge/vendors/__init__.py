"""One folder per vendor. They do not know each other."""
