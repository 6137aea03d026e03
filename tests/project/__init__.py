"""Claims about the project itself: its gates, its documents, its installation."""
