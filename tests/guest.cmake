# The lightweight kernel, run on this machine's KVM. Two of a machine's cores are busy with each.
foreach(group apps paging paging_exits paging_bench crashes scale sidecores exits guest_core bench stage2 dirty advise refuse)
	add_test(NAME lwk_${group} COMMAND sh ${CMAKE_CURRENT_SOURCE_DIR}/guest/lwk.sh
		$<TARGET_FILE:sidevisor> $<TARGET_FILE:lwk> ${group})
	set_tests_properties(lwk_${group} PROPERTIES LABELS guest TIMEOUT 600 RUN_SERIAL ON
		SKIP_REGULAR_EXPRESSION "SKIPPED BECAUSE")
endforeach()

# The placement is kept, on the real host: it must be left as it was.
add_executable(watch_threads guest/watch_threads.c)
target_link_libraries(watch_threads PRIVATE sv_host)
sv_hosted(watch_threads)
add_test(NAME isolation COMMAND sh ${CMAKE_CURRENT_SOURCE_DIR}/guest/isolation.sh
	$<TARGET_FILE:sidevisor> $<TARGET_FILE:lwk> $<TARGET_FILE:watch_threads>)
set_tests_properties(isolation PROPERTIES LABELS guest TIMEOUT 300 RUN_SERIAL ON
	SKIP_REGULAR_EXPRESSION "SKIPPED BECAUSE")
