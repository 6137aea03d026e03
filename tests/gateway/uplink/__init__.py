"""The uplink: nothing lost and nothing doubled, whatever the network and the service do."""
