"""The stages: each reads the files that it is given and writes its own.

Every stage is one function. ``params`` says what to compute; ``data`` is the folder of the prepared data set,
``extractors`` the file of an extractor pool, ``distilled`` or ``source`` that of a set; ``out`` is the file to write,
or the folder for several; ``record`` has the names of the cell, which the output keeps, takes the history, and is
finished with the final numbers. Every stage raises :class:`~ncfm.core.errors.DataError` where its inputs are missing,
torn, or do not belong together, and :class:`~ncfm.core.errors.StorageError` where it cannot write. The same command
continues after a kill.
"""
