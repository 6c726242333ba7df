"""Delivering: one lane per subscription and partition, its schedule and its settlement."""
