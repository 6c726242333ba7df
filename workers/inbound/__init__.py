"""Queues that others can write to: strict readers of their messages; others are refused and counted."""
