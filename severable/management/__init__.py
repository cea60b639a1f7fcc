"""Commands of the machine: `manage.py help` lists them."""
