"""Jobs over the whole store, safe while the service runs: each reports what it finds as it goes."""
