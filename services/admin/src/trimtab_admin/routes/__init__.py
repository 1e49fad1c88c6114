"""The HTTP API, a module for each noun; they translate, and decide nothing."""
