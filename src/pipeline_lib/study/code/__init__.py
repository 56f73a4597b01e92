"""The code behind a result: found by following imports, and compared by a digest.

What counts for a script, in plain words:

- The script itself, and every name of the library that it uses: functions, classes and constants,
  with all that they use in turn, imports within functions included. An import of a whole module
  counts all of its names.
- Of every module that is imported on the way, the statements that do something at import.
- Files that are not Python and lie beside such a module, if the code names them.
- Of the models (`pipeline_lib.models.MODELS`) only those that are named for the job, and of their
  classes the methods whose name the code uses, as in ``model.train(...)``: what a block costs in
  memory does not decide its numbers.
- Of the tables' schemas those whose name stands as a string in the code, without the words that
  describe them.
- Not the logs and the classes of errors, which decide no number, nor the reading of the
  configuration, whose values are compared as parameters.

Comments, docstrings and blank lines do not count, nor does the order of functions in a file, nor
type hints where nothing reads them. Names are followed whatever they stand for, so that rather too
much is found than too little. What runs without being named would be missed: a module that is
imported by a name put together when the code runs, a list that classes enter by being derived
(``__init_subclass__``). Tests hold the library to this.
"""
