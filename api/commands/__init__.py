"""The commands of ``mail-gateway``, one module a group."""
