"""A Kafka topic of the operator's: its client, and errors by what to do."""
