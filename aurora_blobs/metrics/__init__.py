"""What the service says of itself at ``/metrics``: what it did, and what it holds."""
