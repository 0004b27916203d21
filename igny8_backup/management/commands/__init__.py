"""One module for each command of ``manage.py``; the module's name is the command's name."""
