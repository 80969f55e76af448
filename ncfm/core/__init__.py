"""What everything stands on: errors, seeds, files, params, progress."""
