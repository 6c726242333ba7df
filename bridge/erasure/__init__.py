"""Erasing one person: who is meant, every place that may hold something, jobs and their reports."""
