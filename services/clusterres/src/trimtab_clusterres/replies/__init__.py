"""Replies to requests of admin: the difference of a namespace, and the report on all clusters."""
