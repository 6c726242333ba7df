"""Attempt Bridge: receives and polls assessment vendors, publishes each completed attempt once."""

__version__ = "0.1.0"
