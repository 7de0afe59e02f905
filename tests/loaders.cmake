# Loaders, firmware tables, CPUID.
add_library(test_machine_by_hand STATIC unit/machine_by_hand.c)
target_include_directories(test_machine_by_hand PUBLIC unit ${PROJECT_SOURCE_DIR}/core-vmm)
target_link_libraries(test_machine_by_hand PUBLIC sv_vmm PkgConfig::CRITERION)
sv_hosted(test_machine_by_hand)

sv_test(acpi unit/test_acpi.c LIBS test_machine_by_hand)
sv_test(mptable unit/test_mptable.c LIBS test_machine_by_hand)
sv_test(cpuid unit/test_cpuid.c LIBS test_machine_by_hand)
