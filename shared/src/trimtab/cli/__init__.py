"""The command ``trimtab``: each command is a call of `trimtab.client` and its rendering.

Files, flags and messages for settings are flytectl's, so that its users' scripts keep working.
"""
