"""Published laws: what every engine, store, splitter and preprocessing step must keep, as importable functions."""
