"""Notifications: mails to customers about what happened."""
