"""Blobs: immutable contents that are named by their SHA-256, such as bundles of code.

The port is `trimtab.blobs.port`; the adapters are a directory and an object store of JetStream.
"""
