"""The room for a node in several processes: who starts them, what each of them has, and how they look like one."""
