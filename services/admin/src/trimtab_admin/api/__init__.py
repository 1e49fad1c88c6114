"""The HTTP API: routes, and the checks that surround every call."""
