"""Sending: claim rows, compose, look once more, hand over by SMTP, write what the server said.

From the claim to the last look is one transaction; SMTP begins when it is committed.
"""
