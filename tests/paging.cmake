# Direct paging: the rules one by one, the plain model as oracle, hostile guests, races.
sv_test(paging unit/test_paging.c LIBS sv_paging LABELS unit)
sv_test(paging_oracle stress/test_paging_oracle.c unit/paging_model.c LIBS sv_paging LABELS unit)
target_include_directories(test_paging_oracle PRIVATE unit)
sv_test(paging_hostile fuzz/test_paging_hostile.c fuzz/paging_once.c LIBS sv_paging LABELS fuzz)

add_executable(test_paging_race stress/test_paging_race.c)
target_link_libraries(test_paging_race PRIVATE sv_paging Threads::Threads)
sv_hosted(test_paging_race)
add_test(NAME paging_race COMMAND test_paging_race)
set_tests_properties(paging_race PROPERTIES TIMEOUT 300 LABELS stress)

if(SV_FUZZ)
	get_target_property(paging_sources sv_paging SOURCES)
	list(TRANSFORM paging_sources PREPEND ${PROJECT_SOURCE_DIR}/paging/)
	add_executable(fuzz_paging fuzz/fuzz_paging.c fuzz/paging_once.c ${paging_sources})
	target_compile_options(fuzz_paging PRIVATE -fsanitize=fuzzer,address,undefined
		-fno-sanitize-recover=all)
	target_include_directories(fuzz_paging PRIVATE ${PROJECT_SOURCE_DIR}/paging/include)
	target_link_options(fuzz_paging PRIVATE -fsanitize=fuzzer,address,undefined)
	target_link_libraries(fuzz_paging PRIVATE sv_base sv_channels)
endif()
