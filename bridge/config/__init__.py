"""bridge.yaml: read, checked with all problems at once, and given as frozen objects."""
