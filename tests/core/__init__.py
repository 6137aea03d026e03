"""The law, held by properties, vectors and attacks."""
