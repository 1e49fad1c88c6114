"""Workflows: how tasks, nodes, hooks and launch plans are defined, registered and loaded."""
