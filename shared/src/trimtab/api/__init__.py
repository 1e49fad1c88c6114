"""Bodies of ``/api/v2``: what admin answers and what clients send, a module for each subject. Pure.

Errors are ``application/problem+json`` with `problems.Problem`. Scopes are given as the query
parameters ``domain``, ``project``, ``workflow``, ``launch_plan``.
"""
