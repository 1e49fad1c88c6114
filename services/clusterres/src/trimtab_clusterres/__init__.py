"""Renders each namespace from templates and settings, and applies it to its clusters."""
