"""Notices that providers of relays send over HTTP: whether they are genuine, and what they say."""
