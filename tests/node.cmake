# Tests in virtual nodes: real kvm_amd without the hardware. Label node: what check.sh runs, some
# minutes. Label matrix: every kernel with every number of vCPUs and nodes.
function(sv_node_test name script)
	cmake_parse_arguments(T "" "LABEL;TIMEOUT" "" ${ARGN})
	add_test(NAME node_${name} COMMAND sh ${CMAKE_CURRENT_SOURCE_DIR}/node/${script}
		${CMAKE_BINARY_DIR} ${T_UNPARSED_ARGUMENTS})
	set_tests_properties(node_${name} PROPERTIES SKIP_RETURN_CODE 77 RUN_SERIAL ON
		TIMEOUT ${T_TIMEOUT} LABELS ${T_LABEL})
endfunction()

# A node cannot run what a sanitizer was built into at a useful speed.
if(NOT SV_SANITIZE)
	sv_node_test(itself test_node.sh LABEL node TIMEOUT 600)
	sv_node_test(lwk test_lwk.sh LABEL node TIMEOUT 600)
	sv_node_test(paging test_paging.sh LABEL node TIMEOUT 600)
	sv_node_test(ends test_ends.sh LABEL node TIMEOUT 600)
	sv_node_test(isolation test_isolation.sh LABEL node TIMEOUT 600)
	sv_node_test(plan_export test_plan_export.sh LABEL node TIMEOUT 600)
	sv_node_test(linux_6.1_1x1 test_linux.sh 6.1 1 1 LABEL node TIMEOUT 600)
	sv_node_test(linux_6.12_4x2 test_linux.sh 6.12 4 2 LABEL node TIMEOUT 600)
	sv_node_test(truth_6.12 test_truth.sh 6.12 LABEL node TIMEOUT 1000)
	sv_node_test(truth_6.1 test_truth.sh 6.1 LABEL matrix TIMEOUT 1000)
	sv_node_test(truth_6.12_smt test_truth.sh 6.12 smt LABEL matrix TIMEOUT 1000)
	sv_node_test(debian_6.12 test_debian.sh 6.12 LABEL matrix TIMEOUT 800)
	foreach(kernel 6.1 6.12)
		foreach(shape 1x1 4x1 4x2 16x1 16x2)
			string(REPLACE x ";" numbers ${shape})
			if(NOT ${kernel}_${shape} MATCHES "^(6.1_1x1|6.12_4x2)$")
				sv_node_test(linux_${kernel}_${shape} test_linux.sh ${kernel} ${numbers}
					LABEL matrix TIMEOUT 600)
			endif()
		endforeach()
	endforeach()
	foreach(kernel 6.1-full 6.1-rt)
		sv_node_test(linux_${kernel}_1x1 test_linux.sh ${kernel} 1 1 LABEL matrix TIMEOUT 600)
	endforeach()
endif()
