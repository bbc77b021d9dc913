"""The adapters, one module or package for each kind of server or store; none imports another."""
