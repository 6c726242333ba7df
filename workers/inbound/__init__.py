"""Queues that others can write to: strict readers of their messages; invalid ones are refused and counted."""
