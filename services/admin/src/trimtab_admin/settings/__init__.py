"""Settings: drafted, judged, written, read, explained and compared."""
