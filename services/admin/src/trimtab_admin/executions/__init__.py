"""Workflows, launch plans and executions: registered, requested, and followed to their end."""
