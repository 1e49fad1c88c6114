"""The parts of every service process: configuration, NATS, telemetry, back-off, HTTP server."""
