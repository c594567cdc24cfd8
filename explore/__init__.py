"""How networks are judged and searched: data, training, measurement, search, report and the command line."""
