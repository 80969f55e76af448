"""The stages: each reads the files that it is given and writes its own.

Every stage is one function. ``data`` is the folder of a prepared data set, ``extractors`` the file of a pool,
``distilled`` or ``source`` that of a set; ``out`` is the file to write, or the folder for several; ``record`` has the
names of the cell and takes history and final numbers. Every stage raises DataError where its inputs are missing, torn,
or do not belong together, and StorageError where it cannot write. The same command continues after a kill.
"""
