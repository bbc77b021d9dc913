"""JetStream: streams that keep messages, durable consumers as groups."""
