"""Version 2 of the REST API: identities, and messages in lists."""
