"""Each part of the configuration as the values that serve. `pipeline` puts them in order."""
