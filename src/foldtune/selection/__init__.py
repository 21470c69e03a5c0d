"""The statistics of selection: how good the chosen configuration is, in spite of having been chosen.

Pure functions over arrays and frozen values: nothing here trains, stores or prints.
"""
