"""Settings in memory: records folded into effective values, and a view that follows SETTINGS."""
