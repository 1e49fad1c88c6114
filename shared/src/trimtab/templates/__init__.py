"""Templates of namespaces: parsed, filled with values, and rendered to Kubernetes objects."""
