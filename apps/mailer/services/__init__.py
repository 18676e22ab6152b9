"""Changes to the audience."""
