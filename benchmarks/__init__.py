"""How fast foldtune is, measured against what people would run instead."""
