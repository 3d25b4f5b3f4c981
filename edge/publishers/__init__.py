"""Where messages go, one publisher a file."""
