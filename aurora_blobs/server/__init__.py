"""What gunicorn runs: the worker, time limits for clients, memory, warnings about settings."""
