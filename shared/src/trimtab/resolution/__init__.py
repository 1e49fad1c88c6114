"""The rules by which the values of an execution's nodes are resolved. Pure.

Propeller resolves with them, and admin checks with them what it registers and creates.
"""
