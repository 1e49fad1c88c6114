"""What surrounds every call of the API: who may come in, what went wrong, what is documented."""
