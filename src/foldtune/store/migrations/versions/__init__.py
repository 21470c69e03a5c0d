"""One file a revision; once released, none of them changes."""
