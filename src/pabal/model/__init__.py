"""Values and Protocols of messaging, without I/O: the floor that everything else stands on."""
