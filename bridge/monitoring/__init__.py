"""What the bridge reports about itself: health of sources, alarms, metrics, logs, doctor."""
