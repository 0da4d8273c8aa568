"""Program families: one module each, with its parameters, its encoder and the name of its decoder."""
