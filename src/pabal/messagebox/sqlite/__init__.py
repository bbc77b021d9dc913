"""The message box on SQLite: one file, several processes of one host."""
