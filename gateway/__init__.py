"""The core: what a user, an identity, a message is, and what may happen to it.

It knows no framework, no driver and no mail library; what it needs from outside is declared in ``ports.py``.
"""
