"""The command line. Each command's file is imported only when the command runs."""
