"""Tagging whole archives: `crosshead tag INPUT… --output FOLDER`.

::

    inputs    what was named → sources, each hashed
    plan      sources → units of work, cut by the inputs alone
    reading   a unit → items, the same that `crosshead tag` reads
    tables    the rows of a table, from near any place in it
    parts     items → answers → the bytes of one part file
    folder    part files that appear whole or not at all, the manifest, the lock
    worker    one loaded bundle, one unit after the other
    job       a whole job; units over this process, or by `crew` over several
    ray_job   the same units over the machines of a Ray cluster
    stores    files here, or in a store that fsspec knows

One unit gives one part file, and nothing but its inputs and the model decides a byte of it. So a unit may be done
anywhere, any number of times, and a job that was killed goes on where it was.
"""
