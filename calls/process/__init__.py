"""What surrounds the application in a server process: its start and end, its threads, its logs and its watchdog."""
