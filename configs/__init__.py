"""One TOML file per experiment; installed as `trm.configs`, so that a name is enough on the command line."""
