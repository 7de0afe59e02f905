# The sidecore process. Its private headers are tested too.
function(sv_sidecore_test name source label)
	sv_test(${name} ${source} LIBS sv_sidecore PkgConfig::JANSSON PkgConfig::HWLOC Threads::Threads
		LABELS ${label})
	target_include_directories(test_${name} PRIVATE ${PROJECT_SOURCE_DIR}/sidecore)
endfunction()

sv_sidecore_test(services unit/test_services.c unit)

sv_test(placement topology/test_placement.c LIBS sv_placement PkgConfig::HWLOC LABELS topology)
sv_test(latencies topology/test_latencies.c LIBS sv_placement sv_bench PkgConfig::HWLOC LABELS topology)

# A whole node in a process of its own, and clients of every kind.
add_library(test_node_by_hand STATIC unit/node_by_hand.c)
target_include_directories(test_node_by_hand PUBLIC unit)
target_link_libraries(test_node_by_hand PUBLIC sv_sidecore sv_io PkgConfig::CRITERION)
sv_hosted(test_node_by_hand)
sv_test(paging_node unit/test_paging_node.c LIBS test_node_by_hand sv_cli LABELS unit)
sv_test(control unit/test_control.c LIBS test_node_by_hand LABELS unit)
sv_sidecore_test(reactor unit/test_reactor.c unit)
sv_test(memtrap unit/test_memtrap.c LIBS sv_base LABELS unit)
sv_test(node_service unit/test_node_service.c LIBS test_node_by_hand PkgConfig::JANSSON LABELS unit)

sv_test(rejoin unit/test_rejoin.c LIBS test_node_by_hand test_rig LABELS unit)
sv_test(sidecores unit/test_sidecores.c LIBS test_node_by_hand sv_vmm PkgConfig::JANSSON LABELS unit)
sv_test(sidecores_stress stress/test_sidecores_stress.c LIBS test_node_by_hand Threads::Threads
	LABELS stress)

add_executable(test_reactor_stress stress/test_reactor_stress.c)
target_link_libraries(test_reactor_stress PRIVATE test_channel_by_hand)
sv_hosted(test_reactor_stress)
add_test(NAME reactor_stress COMMAND test_reactor_stress)
set_tests_properties(reactor_stress PROPERTIES TIMEOUT 300 LABELS stress RUN_SERIAL ON)
sv_test(sidecore_step step/test_sidecore_step.c LIBS test_channel_by_hand LABELS step)
sv_test(guest_topology topology/test_guest_topology.c LIBS sv_placement PkgConfig::HWLOC LABELS topology)

# What a guest sees against what its CPUs are: run in virtual nodes (node/test_truth.sh).
add_executable(compare_guest topology/compare_guest.c)
target_link_libraries(compare_guest PRIVATE PkgConfig::HWLOC)
sv_hosted(compare_guest)
