"""The public contract: the shape of the events. Imports nothing of the bridge: subscribers may copy it."""
