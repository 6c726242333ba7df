"""Delivery: one lane per subscription and partition, with its retry schedule and settlement."""
