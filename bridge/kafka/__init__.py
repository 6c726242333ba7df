"""The operator's Kafka topic: its client, and its errors, sorted by what to do."""
