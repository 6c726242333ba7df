"""The stored state of deliveries: retries, dead letters, status and lag of a subscription."""
