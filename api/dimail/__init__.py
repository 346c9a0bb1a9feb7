"""The dimail-compatible face: clients of a dimail server can use the gateway as theirs."""
