"""Workflows, launch plans and executions, and the projection of execution logs."""
