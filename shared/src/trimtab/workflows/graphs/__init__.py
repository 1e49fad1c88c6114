"""Workflows as they are registered, sent and stored, and their expansion to calls of tasks."""
