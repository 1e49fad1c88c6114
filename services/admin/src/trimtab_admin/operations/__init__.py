"""What an operator looks at and sets right, and the connection to NATS."""
