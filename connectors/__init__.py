"""Sources and destinations: everything that talks to a system outside."""
