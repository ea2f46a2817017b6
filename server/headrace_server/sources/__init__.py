"""Where samples come from: one module for each kind of source, and `base`, what all of them promise."""
