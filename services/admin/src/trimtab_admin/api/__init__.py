"""The HTTP API: its operations by subject, and their routing, parsing, errors and description."""
