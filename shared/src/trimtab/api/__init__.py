"""Bodies of ``/api/v2``: what admin returns and clients send, one module per subject. Pure.

Errors are ``application/problem+json`` with `problems.Problem`. A scope is given by the query
parameters ``domain``, ``project``, ``workflow`` and ``launch_plan``.
"""
