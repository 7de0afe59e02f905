# Tests in virtual nodes: real kvm_amd, emulated. They need downloads and skip by name without.
add_test(NAME node_linux COMMAND sh ${CMAKE_CURRENT_SOURCE_DIR}/node/linux.sh $<TARGET_FILE:sidevisor>
	$<TARGET_FILE:lwk>)
set_tests_properties(node_linux PROPERTIES LABELS node TIMEOUT 1000 RUN_SERIAL ON
	SKIP_REGULAR_EXPRESSION "SKIPPED BECAUSE")
