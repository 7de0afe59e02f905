# The command line as a user meets it.
add_test(NAME cli_bad_input COMMAND sh ${CMAKE_CURRENT_SOURCE_DIR}/cli/bad_input.sh
	$<TARGET_FILE:sidevisor> $<TARGET_FILE:lwk>)
set_tests_properties(cli_bad_input PROPERTIES LABELS cli TIMEOUT 300)
add_test(NAME cli_plan COMMAND sh ${CMAKE_CURRENT_SOURCE_DIR}/cli/plan.sh $<TARGET_FILE:sidevisor>
	${PROJECT_SOURCE_DIR})
set_tests_properties(cli_plan PROPERTIES LABELS cli TIMEOUT 300)
add_test(NAME cli_doctor COMMAND sh ${CMAKE_CURRENT_SOURCE_DIR}/cli/doctor.sh $<TARGET_FILE:sidevisor>
	${PROJECT_SOURCE_DIR})
set_tests_properties(cli_doctor PROPERTIES LABELS cli TIMEOUT 120)
add_test(NAME cli_supervise COMMAND sh ${CMAKE_CURRENT_SOURCE_DIR}/cli/supervise.sh $<TARGET_FILE:sidevisor>)
set_tests_properties(cli_supervise PROPERTIES LABELS cli TIMEOUT 120)
add_test(NAME cli_device COMMAND sh ${CMAKE_CURRENT_SOURCE_DIR}/cli/device.sh $<TARGET_FILE:sidevisor>)
set_tests_properties(cli_device PROPERTIES LABELS cli TIMEOUT 120)
