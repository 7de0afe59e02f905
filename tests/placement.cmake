# The planner, on machines that are not here.
add_library(test_planning STATIC topology/planning.c topology/planning_invariants.c)
target_include_directories(test_planning PUBLIC topology)
target_link_libraries(test_planning PUBLIC sv_placement PkgConfig::CRITERION)
sv_hosted(test_planning)
sv_test(plan_golden topology/test_plan_golden.c LIBS test_planning LABELS topology)

set(SV_TOPOLOGIES "${PROJECT_SOURCE_DIR}/../shared/topologies" CACHE PATH
	"hwloc XML files of real machines; the tests that plan for them skip where it is not there")
sv_test(plan_machines topology/test_plan_machines.c LIBS test_planning LABELS topology)
target_compile_definitions(test_plan_machines PRIVATE SV_TOPOLOGIES="${SV_TOPOLOGIES}")
sv_test(plan_properties topology/test_plan_properties.c LIBS test_planning PkgConfig::HWLOC
	LABELS topology)
sv_test(plan_hostile topology/test_plan_hostile.c LIBS sv_placement LABELS topology)
add_test(NAME bench_plan COMMAND sidevisor bench plan --topology "pack:2 core:4 pu:1" --guests 2 --runs 2 --json)
set_tests_properties(bench_plan PROPERTIES LABELS topology PASS_REGULAR_EXPRESSION "\"n\": 2")
