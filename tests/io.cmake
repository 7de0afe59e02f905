# Virtqueues, the vhost-user back end and its devices. The front end and the driver are the tests' own.
add_library(test_vq_driver STATIC unit/vq_driver.c unit/vq_packed_driver.c)
target_include_directories(test_vq_driver PUBLIC unit ${CMAKE_SOURCE_DIR}/io)
target_link_libraries(test_vq_driver PUBLIC sv_io PkgConfig::CRITERION)
sv_hosted(test_vq_driver)

sv_test(virtq unit/test_virtq.c LIBS test_vq_driver LABELS unit)
sv_test(virtq_packed unit/test_virtq_packed.c LIBS test_vq_driver LABELS unit)
sv_test(virtq_resident unit/test_virtq_resident.c LIBS test_vq_driver LABELS unit)
sv_test(histogram unit/test_histogram.c LIBS sv_base LABELS unit)
sv_test(moderate unit/test_moderate.c LIBS test_vq_driver m LABELS unit)
sv_test(qos unit/test_qos.c unit/qos_sim.c LIBS sv_io LABELS unit)
sv_test(blk_fair unit/test_blk_fair.c LIBS test_front_end LABELS unit)
add_test(NAME scale COMMAND sh ${CMAKE_CURRENT_SOURCE_DIR}/stress/test_scale.sh $<TARGET_FILE:sidevisor>)
set_tests_properties(scale PROPERTIES SKIP_RETURN_CODE 77 RUN_SERIAL ON TIMEOUT 120 LABELS stress)
add_test(NAME bench_end COMMAND sh ${CMAKE_CURRENT_SOURCE_DIR}/stress/test_bench_end.sh $<TARGET_FILE:sidevisor>)
set_tests_properties(bench_end PROPERTIES SKIP_RETURN_CODE 77 RUN_SERIAL ON TIMEOUT 120 LABELS stress)
sv_test(blk_qos unit/test_blk_qos.c LIBS test_front_end LABELS unit)
sv_test(virtq_order unit/test_virtq_order.c LIBS test_vq_driver LABELS unit)
sv_test(inflight unit/test_inflight.c LIBS test_vq_driver LABELS unit)

if(EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/unit/front_end.c)
	add_library(test_front_end STATIC unit/front_end.c)
	target_link_libraries(test_front_end PUBLIC test_vq_driver sv_sidecore)
	sv_hosted(test_front_end)
	foreach(t balloon vhost vhost_log blk console rng)
		if(EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/unit/test_${t}.c)
			sv_test(${t} unit/test_${t}.c LIBS test_front_end LABELS unit)
		endif()
	endforeach()
	sv_test(blk_stress stress/test_blk_stress.c LIBS test_front_end LABELS stress)
endif()

add_library(test_net_guest STATIC unit/net_guest.c)
target_link_libraries(test_net_guest PUBLIC test_front_end)
sv_hosted(test_net_guest)
sv_test(net unit/test_net.c LIBS test_net_guest LABELS unit)
sv_test(neighbours unit/test_neighbours.c LIBS test_front_end LABELS unit)
sv_test(net_state unit/test_net_state.c LIBS test_net_guest LABELS unit)
sv_test(net_qos unit/test_net_qos.c LIBS test_net_guest LABELS unit)

sv_test(blk_nbd unit/test_blk_nbd.c unit/nbd_by_hand.c LIBS test_front_end LABELS unit)
target_include_directories(test_blk_nbd PRIVATE ${NBD_INCLUDE_DIRS})
sv_test(blk_stack unit/test_blk_stack.c LIBS test_vq_driver LABELS unit)
sv_test(blk_pinned unit/test_blk_pinned.c LIBS test_front_end PkgConfig::URING LABELS unit)

# Hostile drivers and front ends: from fixed seeds, and for libFuzzer (see loaders.cmake).
sv_test(net_mutants fuzz/test_net_mutants.c LIBS test_net_guest LABELS fuzz)
sv_test(blk_mutants fuzz/test_blk_mutants.c fuzz/blk_once.c LIBS test_vq_driver LABELS fuzz)
if(SV_FUZZ)
	get_target_property(io_sources sv_io SOURCES)
	list(TRANSFORM io_sources PREPEND ${PROJECT_SOURCE_DIR}/io/)
	add_executable(fuzz_blk fuzz/fuzz_blk.c fuzz/blk_once.c ${io_sources})
	target_compile_options(fuzz_blk PRIVATE -fsanitize=fuzzer,address,undefined
		-fno-sanitize-recover=all -iquote ${PROJECT_SOURCE_DIR}/io)
	target_include_directories(fuzz_blk PRIVATE ${PROJECT_SOURCE_DIR}/io/include)
	target_link_options(fuzz_blk PRIVATE -fsanitize=fuzzer,address,undefined)
	target_link_libraries(fuzz_blk PRIVATE sv_base sv_channels PkgConfig::URING PkgConfig::JANSSON
		PkgConfig::PCAP ${CMAKE_DL_LIBS})
endif()

# The disk under front ends that are not ours.
add_executable(blk_server stress/blk_server.c)
target_link_libraries(blk_server PRIVATE sv_io sv_sidecore)
sv_hosted(blk_server)
add_test(NAME qemu_disk COMMAND sh ${CMAKE_CURRENT_SOURCE_DIR}/node/test_qemu_disk.sh
	${CMAKE_BINARY_DIR})
set_tests_properties(qemu_disk PROPERTIES SKIP_RETURN_CODE 77 RUN_SERIAL ON TIMEOUT 300 LABELS node)
add_test(NAME qemu_counts COMMAND sh ${CMAKE_CURRENT_SOURCE_DIR}/node/test_qemu_counts.sh
	${CMAKE_BINARY_DIR})
set_tests_properties(qemu_counts PROPERTIES SKIP_RETURN_CODE 77 RUN_SERIAL ON TIMEOUT 600 LABELS node)
foreach(run qemu_killed:8:node qemu_killed_200:200:matrix qemu_killed_direct_50:50:matrix
	qemu_killed_packed_50:50:matrix)
	string(REPLACE ":" ";" run ${run})
	list(GET run 0 name)
	list(GET run 1 kills)
	list(GET run 2 label)
	set(option)
	if(name MATCHES direct)
		set(option direct)
	elseif(name MATCHES packed)
		set(option packed)
	endif()
	add_test(NAME ${name} COMMAND sh ${CMAKE_CURRENT_SOURCE_DIR}/node/test_qemu_killed.sh
		${CMAKE_BINARY_DIR} ${kills} ${option})
	set_tests_properties(${name} PROPERTIES SKIP_RETURN_CODE 77 RUN_SERIAL ON TIMEOUT 1200
		LABELS ${label})
endforeach()
add_executable(slow_read guest/slow_read.c)
target_link_options(slow_read PRIVATE -static)
add_test(NAME qemu_migrate COMMAND sh ${CMAKE_CURRENT_SOURCE_DIR}/node/test_qemu_migrate.sh
	${CMAKE_BINARY_DIR})
set_tests_properties(qemu_migrate PROPERTIES SKIP_RETURN_CODE 77 RUN_SERIAL ON TIMEOUT 400 LABELS node)
add_test(NAME uml_net COMMAND sh ${CMAKE_CURRENT_SOURCE_DIR}/stress/test_uml_net.sh
	$<TARGET_FILE:sidevisor> $<TARGET_FILE:uml_xstate>)
set_tests_properties(uml_net PROPERTIES SKIP_RETURN_CODE 77 RUN_SERIAL ON TIMEOUT 200 LABELS stress)
add_test(NAME testpmd COMMAND sh ${CMAKE_CURRENT_SOURCE_DIR}/stress/test_testpmd.sh
	$<TARGET_FILE:sidevisor>)
set_tests_properties(testpmd PROPERTIES SKIP_RETURN_CODE 77 RUN_SERIAL ON TIMEOUT 250 LABELS stress)
add_test(NAME uml_uplink COMMAND sh ${CMAKE_CURRENT_SOURCE_DIR}/stress/test_uml_uplink.sh
	$<TARGET_FILE:sidevisor> $<TARGET_FILE:uml_xstate>)
set_tests_properties(uml_uplink PROPERTIES SKIP_RETURN_CODE 77 RUN_SERIAL ON TIMEOUT 120 LABELS stress)
add_test(NAME uml_disk COMMAND sh ${CMAKE_CURRENT_SOURCE_DIR}/stress/test_uml_disk.sh
	$<TARGET_FILE:sidevisor> $<TARGET_FILE:uml_xstate>)
set_tests_properties(uml_disk PROPERTIES SKIP_RETURN_CODE 77 RUN_SERIAL ON TIMEOUT 300 LABELS stress)

add_test(NAME uml_files COMMAND sh ${CMAKE_CURRENT_SOURCE_DIR}/stress/test_uml_files.sh
	$<TARGET_FILE:sidevisor> $<TARGET_FILE:uml_xstate>)
add_test(NAME uml_files_long COMMAND sh ${CMAKE_CURRENT_SOURCE_DIR}/stress/test_uml_files.sh
	$<TARGET_FILE:sidevisor> $<TARGET_FILE:uml_xstate> ,direct 5)
set_tests_properties(uml_files PROPERTIES LABELS stress)
set_tests_properties(uml_files_long PROPERTIES LABELS matrix)
set_tests_properties(uml_files uml_files_long PROPERTIES SKIP_RETURN_CODE 77 RUN_SERIAL ON TIMEOUT 600)

# The node is killed under load: few times here, many in the long run.
add_executable(crash stress/test_crash.c)
target_link_libraries(crash PRIVATE test_vq_driver)
sv_hosted(crash)
foreach(mode buffered direct)
	set(option)
	if(mode STREQUAL direct)
		set(option direct)
	endif()
	add_test(NAME crash_${mode} COMMAND crash $<TARGET_FILE:sidevisor> 12 ${option})
	set_tests_properties(crash_${mode} PROPERTIES TIMEOUT 120 LABELS stress)
	add_test(NAME crash_${mode}_200 COMMAND crash $<TARGET_FILE:sidevisor> 200 ${option})
	set_tests_properties(crash_${mode}_200 PROPERTIES TIMEOUT 900 LABELS matrix)
endforeach()

add_test(NAME bench_restart COMMAND sidevisor bench restart --kills 5 --json)
set_tests_properties(bench_restart PROPERTIES TIMEOUT 120 LABELS stress PASS_REGULAR_EXPRESSION
	"\"kills\": 5,.*\"errors\": 0}" SKIP_REGULAR_EXPRESSION "two CPUs are needed")

# The switch: ports by hand, no virtqueues.
add_library(test_switch_hand STATIC unit/switch_by_hand.c)
target_include_directories(test_switch_hand PUBLIC unit ${CMAKE_SOURCE_DIR}/io)
target_link_libraries(test_switch_hand PUBLIC sv_io PkgConfig::CRITERION)
sv_hosted(test_switch_hand)
sv_test(switch unit/test_switch.c LIBS test_switch_hand LABELS unit)
# Uplinks, between network namespaces.
sv_test(uplink unit/test_uplink.c unit/uplink_rig.c ${CMAKE_SOURCE_DIR}/io/slirp/slirp_confine.c LIBS test_switch_hand
	PkgConfig::SECCOMP LABELS unit)
target_include_directories(test_uplink PRIVATE ${CMAKE_SOURCE_DIR}/io/slirp)
set_property(TEST uplink APPEND PROPERTY ENVIRONMENT SIDEVISOR_SLIRP=$<TARGET_FILE:sidevisor-slirp>)
