"""Workflows, executions, and the copies of their logs."""
