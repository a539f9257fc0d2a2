"""What people say, and what it proves."""
