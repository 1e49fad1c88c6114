"""Deletes, releases or keeps the objects that nothing renders any longer."""
