# The lightweight kernel, run on this machine's KVM. Two of a machine's cores are busy with each.
foreach(group apps paging paging_exits paging_bench crashes scale sidecores exits guest_core bench refuse)
	add_test(NAME lwk_${group} COMMAND sh ${CMAKE_CURRENT_SOURCE_DIR}/guest/lwk.sh
		$<TARGET_FILE:sidevisor> $<TARGET_FILE:lwk> ${group})
	set_tests_properties(lwk_${group} PROPERTIES LABELS guest TIMEOUT 600 RUN_SERIAL ON
		SKIP_REGULAR_EXPRESSION "SKIPPED BECAUSE")
endforeach()
