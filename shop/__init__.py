"""The machine: the Django project, and all that knows nothing of users, stock or money."""
