# The node: its reactor, its control protocol, placement.
sv_test(placement topology/test_placement.c LIBS sv_sidecore PkgConfig::HWLOC LABELS topology)
