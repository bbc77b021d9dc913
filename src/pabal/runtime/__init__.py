"""What happens to a delivery: plan, worker, lanes, retry, reply, dead letters, the registry of transports."""
