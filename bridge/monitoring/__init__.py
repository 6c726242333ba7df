"""What is said about the bridge: health of sources, alarms, metrics, logs, doctor."""
