"""bridge.yaml: read, checked with all problems at once, and returned as frozen objects."""
