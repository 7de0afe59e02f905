# The ring, the channel's host end, their model, and what the directory structure promises.
add_library(test_channel_by_hand STATIC unit/channel_by_hand.c)
target_include_directories(test_channel_by_hand PUBLIC unit ${PROJECT_SOURCE_DIR}/sidecore)
target_link_libraries(test_channel_by_hand PUBLIC sv_sidecore Threads::Threads)
sv_hosted(test_channel_by_hand)

sv_test(ring unit/test_ring.c LIBS sv_channels LABELS unit)
sv_test(ring_batch unit/test_ring_batch.c LIBS sv_channels LABELS unit)
sv_test(wait unit/test_wait.c LIBS sv_channels Threads::Threads LABELS unit)
# Policies that a CPU may lack: a program each, so that one that is skipped hides no other.
foreach(policy umwait tpause mwaitx)
	string(TOUPPER ${policy} POLICY)
	sv_test(wait_${policy} unit/test_wait.c LIBS sv_channels Threads::Threads LABELS unit)
	target_compile_definitions(test_wait_${policy} PRIVATE POLICY=SV_WAIT_${POLICY})
endforeach()
sv_test(client unit/test_client.c LIBS test_channel_by_hand LABELS unit)
sv_test(channel_step step/test_channel_step.c LIBS test_channel_by_hand LABELS step)

# The protocol under x86-TSO, searched exhaustively, and the bugs that the search has to find.
add_test(NAME model COMMAND sh ${CMAKE_CURRENT_SOURCE_DIR}/model/run.sh)
set_tests_properties(model PROPERTIES SKIP_REGULAR_EXPRESSION "SKIPPED BECAUSE" TIMEOUT 300
	LABELS model)

# Real threads. Run alone: the guest and the sidecore poll.
add_executable(test_channel_stress stress/test_channel_stress.c)
target_link_libraries(test_channel_stress PRIVATE test_channel_by_hand)
sv_hosted(test_channel_stress)
sv_under_tsan(test_channel_stress)
add_test(NAME channel_stress COMMAND test_channel_stress)
set_tests_properties(channel_stress PROPERTIES TIMEOUT 600 LABELS stress RUN_SERIAL ON)

add_executable(test_batch_stress stress/test_batch_stress.c)
target_link_libraries(test_batch_stress PRIVATE sv_channels Threads::Threads)
sv_hosted(test_batch_stress)
add_test(NAME batch_stress COMMAND test_batch_stress)
set_tests_properties(batch_stress PROPERTIES TIMEOUT 600 LABELS stress RUN_SERIAL ON)

add_test(NAME bench_channel COMMAND sh ${CMAKE_CURRENT_SOURCE_DIR}/stress/bench_channel.sh
	$<TARGET_FILE:sidevisor>)
set_tests_properties(bench_channel PROPERTIES SKIP_REGULAR_EXPRESSION "SKIPPED BECAUSE" TIMEOUT 300
	LABELS stress RUN_SERIAL ON)

# A hostile guest on one channel and a proper one on another.
sv_test(channel_hostile fuzz/test_channel_hostile.c fuzz/channel_once.c
	LIBS test_channel_by_hand LABELS fuzz)
if(SV_FUZZ)
	add_executable(fuzz_channel fuzz/fuzz_channel.c fuzz/channel_once.c unit/channel_by_hand.c
		${PROJECT_SOURCE_DIR}/sidecore/endpoint.c ${PROJECT_SOURCE_DIR}/sidecore/reactor.c)
	target_compile_options(fuzz_channel PRIVATE -fsanitize=fuzzer,address,undefined
		-fno-sanitize-recover=all)
	target_link_options(fuzz_channel PRIVATE -fsanitize=fuzzer,address,undefined)
	target_include_directories(fuzz_channel PRIVATE unit ${PROJECT_SOURCE_DIR}/sidecore
		${PROJECT_SOURCE_DIR}/sidecore/include)
	target_link_libraries(fuzz_channel PRIVATE sv_base sv_channels PkgConfig::URCU Threads::Threads)
endif()

# The ABI's headers under other compilers and languages, and the direction of includes.
add_test(NAME abi_headers COMMAND sh ${CMAKE_CURRENT_SOURCE_DIR}/abi/headers.sh
	${PROJECT_SOURCE_DIR} ${CMAKE_C_COMPILER} gcc clang)
add_test(NAME abi_includes COMMAND ${CMAKE_COMMAND} -DSOURCE=${PROJECT_SOURCE_DIR}
	-DBUILD=${PROJECT_BINARY_DIR} -P ${CMAKE_CURRENT_SOURCE_DIR}/abi/includes.cmake)
set_tests_properties(abi_headers abi_includes PROPERTIES LABELS abi)
