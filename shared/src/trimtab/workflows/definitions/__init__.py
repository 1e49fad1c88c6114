"""Definitions of users: tasks, workflows and launch plans, and how graphs are built from them."""
