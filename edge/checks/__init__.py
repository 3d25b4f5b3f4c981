"""What edge-doctor looks at; nothing that is checked is imported before its own check."""
