"""How alike two tasks are, and what that says of transfer between them."""
