"""Echo over one library each, as programs: a server and a client in a process of their own, told what to measure."""
