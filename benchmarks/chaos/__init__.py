"""What the engine does when something dies: `make chaos`."""
