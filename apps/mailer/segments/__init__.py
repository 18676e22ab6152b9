"""Segments: rules over contacts, checked, compiled to one SQL query, and counted."""
