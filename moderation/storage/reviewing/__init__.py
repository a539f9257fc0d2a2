"""Tasks, and what people did with them."""
