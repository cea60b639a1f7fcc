"""Work that outlives a process: due rows, leases, the clock."""
