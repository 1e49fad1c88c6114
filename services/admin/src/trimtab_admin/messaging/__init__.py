"""The streams that admin declares on NATS, and the namespace statuses that it follows there."""
