"""The code of users: which files it is, how it is packed, imported and registered."""
