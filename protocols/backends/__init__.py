"""Mail backends: the servers that keep the mail of hosted domains, behind one port."""
