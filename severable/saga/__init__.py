"""Finish what was started: steps that are done or undone, whatever happens."""
