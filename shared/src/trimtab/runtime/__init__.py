"""What every service process needs: configuration, NATS connection, telemetry, HTTP server."""
