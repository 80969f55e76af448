"""The stages: each reads the files that it is given and writes its own."""
