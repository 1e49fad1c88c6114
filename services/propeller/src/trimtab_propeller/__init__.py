"""The propeller service: it takes executions and runs their nodes. See its README.

Pure, without I/O, clock and ``await``: `attempts`, `claims`, `limits`, `plan`, `resolve`.
"""
