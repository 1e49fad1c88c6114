"""The work of operators: readiness, dead letters, pool usage and the resync."""
