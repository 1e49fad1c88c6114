"""Access control for every door of admin: authentication, authorization, throttling, audit trail.

Nothing here depends on the protocol that a call arrived by.
"""
