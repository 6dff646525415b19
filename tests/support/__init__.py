"""What tests use and no test is: Twilio's end of a socket, server processes, rows to begin with."""
