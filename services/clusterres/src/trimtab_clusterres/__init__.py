"""Renders each namespace from templates and the settings, and applies it to every cluster."""
