"""What people see: the verdict files of a session, its HTML report, the terminal's table and progress."""
