"""Composing mail, talking SMTP, verifying addresses, reading contact files. Framework-free."""
