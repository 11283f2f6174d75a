"""Long work in the background: what can be asked for, a store that survives restarts, and a process for each job."""
