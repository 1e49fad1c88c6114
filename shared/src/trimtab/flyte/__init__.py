"""Connections between Trimtab and Flyte: messages, imports, exports and the mirror.

It needs the extra ``trimtab[flyte]``, which has the messages of Flyte 1 and Flyte 2 and gRPC.
"""
