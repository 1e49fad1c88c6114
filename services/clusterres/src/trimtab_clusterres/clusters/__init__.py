"""Clusters that namespaces are made on: the port, and one module for each type of cluster."""
