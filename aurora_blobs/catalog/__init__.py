"""Every SQL statement, grouped by table: each function says in words what it answers."""
