"""Settings that are to be written, judged before anything is. Pure."""
