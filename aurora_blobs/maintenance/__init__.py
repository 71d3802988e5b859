"""Jobs over the whole store, safe while the service runs. Each reports findings as it goes."""
