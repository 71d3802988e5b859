"""The methods, a blueprint per family; a view says who, what, does it, and shapes the answer."""
