"""Finds what changes without an event of the settings: on clusters, and in template files."""
