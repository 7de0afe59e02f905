# The planner, on machines that are not here.
add_library(test_planning STATIC topology/planning.c topology/planning_invariants.c)
target_include_directories(test_planning PUBLIC topology)
target_link_libraries(test_planning PUBLIC sv_placement PkgConfig::CRITERION)
sv_hosted(test_planning)
sv_test(plan_golden topology/test_plan_golden.c LIBS test_planning LABELS topology)
