"""The nouns of the project, by subject: frozen dataclasses over the standard library and numpy."""
