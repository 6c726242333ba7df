"""The public contract: the shape of the events. Imports nothing of the bridge, so a subscriber may copy or import it."""
