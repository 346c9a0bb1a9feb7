"""MongoDB: one module per collection, indexes, credential encryption, the embedded server."""
