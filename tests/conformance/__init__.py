"""The listener held to the OASIS texts, through its sockets, and against clients that others wrote."""
