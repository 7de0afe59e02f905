# Profiles: the schema against documentation and options, every kind of error, the import of XML.
sv_test(profile unit/test_profile.c LIBS sv_profiles LABELS unit)
sv_test(profile_errors unit/test_profile_errors.c LIBS sv_profiles LABELS unit)
sv_test(profile_import unit/test_profile_import.c LIBS sv_profiles LABELS unit)
sv_test(profile_mutants fuzz/test_profile_mutants.c fuzz/profile_once.c LIBS sv_profiles LABELS fuzz)

# Against the options of `run` as the program has them.
sv_test(run_profile unit/test_run_profile.c LIBS sv_cli LABELS unit)
target_compile_definitions(test_run_profile PRIVATE SOURCE_DIR="${PROJECT_SOURCE_DIR}")

add_test(NAME cli_profile COMMAND sh ${CMAKE_CURRENT_SOURCE_DIR}/cli/profile.sh
	$<TARGET_FILE:sidevisor> ${PROJECT_SOURCE_DIR} $<TARGET_FILE:lwk>)
set_tests_properties(cli_profile PROPERTIES LABELS cli TIMEOUT 300
	SKIP_REGULAR_EXPRESSION "SKIPPED BECAUSE")

add_test(NAME cli_completion COMMAND sh ${CMAKE_CURRENT_SOURCE_DIR}/cli/completion.sh
	$<TARGET_FILE:sidevisor> ${PROJECT_SOURCE_DIR})
set_tests_properties(cli_completion PROPERTIES LABELS cli TIMEOUT 120 SKIP_RETURN_CODE 77)

# libFuzzer (clang), as in loaders.cmake: the sources themselves, so that their coverage leads it.
if(SV_FUZZ)
	get_target_property(profile_sources sv_profiles SOURCES)
	list(TRANSFORM profile_sources PREPEND ${PROJECT_SOURCE_DIR}/profiles/)
	foreach(what profile v3m)
		add_executable(fuzz_${what} fuzz/fuzz_${what}.c fuzz/profile_once.c ${profile_sources})
		target_include_directories(fuzz_${what} PRIVATE ${PROJECT_SOURCE_DIR}/profiles/include
			${XML2_INCLUDE_DIRS})
		target_compile_options(fuzz_${what} PRIVATE -fsanitize=fuzzer,address,undefined
			-fno-sanitize-recover=all)
		target_link_options(fuzz_${what} PRIVATE -fsanitize=fuzzer,address,undefined)
		target_link_libraries(fuzz_${what} PRIVATE sv_base PkgConfig::CYAML PkgConfig::YAML)
	endforeach()
endif()
