"""The database: tables, outbox and relay, and the settings held in memory."""
