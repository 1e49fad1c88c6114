"""What the database holds of settings, and the tree in memory that reads are answered from."""
