"""Workflows: the definition of tasks, hooks and launch plans, and how a file of them is run."""
