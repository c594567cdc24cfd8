"""How networks are evaluated and searched: data, training, measurement, search, report and the command line."""
