# What is changed on the host, on made-up hosts.
function(sv_host_test name)
	cmake_parse_arguments(T "" "" "LIBS" ${ARGN})
	sv_test(${name} ${T_UNPARSED_ARGUMENTS} LIBS sv_host ${T_LIBS} LABELS unit)
	target_include_directories(test_${name} PRIVATE ${PROJECT_SOURCE_DIR}/host)
endfunction()

sv_host_test(claims unit/test_claims.c)
sv_host_test(isolate unit/test_isolate.c unit/made_up_host.c)
sv_host_test(doctor unit/test_doctor.c unit/made_up_host.c)
