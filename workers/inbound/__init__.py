"""Queues that others can write to: messages are read strictly, refused and counted."""
