"""Relays, sending domains and sending policy of a workspace."""
