"""Erasing one person: whose data it is, every place that may hold something, jobs and their reports."""
