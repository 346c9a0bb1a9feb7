"""Version 1 of the REST API: accounts and messages."""
