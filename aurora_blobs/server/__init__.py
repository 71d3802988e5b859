"""What gunicorn runs: its worker, its time limits, its memory."""
