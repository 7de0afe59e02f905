# Memory that arrives while the guest runs.
add_executable(memory_source guest/memory_source.c)
target_link_libraries(memory_source PRIVATE sv_channels PkgConfig::XXHASH Threads::Threads)
sv_hosted(memory_source)
add_executable(vsock_echo guest/vsock_echo.c)
sv_hosted(vsock_echo)

sv_test(pager unit/test_pager.c LIBS sv_pager PkgConfig::XXHASH Threads::Threads LABELS unit)

# On this machine's KVM; `full` is the gibibyte behind a slow source.
foreach(group arrive lost bad full)
	add_test(NAME pager_${group} COMMAND sh ${CMAKE_CURRENT_SOURCE_DIR}/guest/pager.sh
		$<TARGET_FILE:sidevisor> $<TARGET_FILE:lwk> $<TARGET_FILE:memory_source> ${group})
	set_tests_properties(pager_${group} PROPERTIES LABELS guest TIMEOUT 300 RUN_SERIAL ON
		SKIP_REGULAR_EXPRESSION "SKIPPED BECAUSE")
endforeach()
set_tests_properties(pager_full PROPERTIES LABELS matrix)
