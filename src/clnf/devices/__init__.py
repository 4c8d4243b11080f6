"""One cell: its parameters, how a pulse, a read and time change it, and where values come from."""
