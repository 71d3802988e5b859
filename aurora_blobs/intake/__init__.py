"""A request body becomes hashed bytes."""
