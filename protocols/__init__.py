"""The outside world of mail: one module per protocol, and one guard through which every connection goes."""
