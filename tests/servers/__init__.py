"""Real servers for tests: found or installed, started on free loopback ports, and always gone at the end."""
