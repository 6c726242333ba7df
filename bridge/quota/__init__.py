"""Quotas: how many calls each vendor allows, and who may spend them."""
