"""The command ``trimtab``: each command calls `trimtab.client` and shows the result.

For settings of one kind, the files, flags and messages are those of flytectl, so that scripts
written for flytectl keep working.
"""
