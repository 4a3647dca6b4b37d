"""The test harness: raw sockets on both sides of the balancer, and nothing that repairs what goes through it."""
